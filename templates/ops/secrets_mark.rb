# Prints the SHA-256 of the keys that this node's Rails encrypts columns of the database with. The keys stay here.
require 'digest'
require 'yaml'

secrets = YAML.safe_load(File.read(ARGV.fetch(0))).fetch('production')
mark = Digest::SHA256.new
%w[
  db_key_base
  otp_key_base
  active_record_encryption_primary_key
  active_record_encryption_deterministic_key
  active_record_encryption_key_derivation_salt
].each do |name|
  keys = Array(secrets[name])
  abort "#{name} is no text" unless keys.all?(String)
  keys = keys.reject(&:empty?)
  abort 'there is no db_key_base' if name == 'db_key_base' && keys.empty?
  [name, *keys].each { |line| mark << "#{line}\n" }
end
puts mark.hexdigest
