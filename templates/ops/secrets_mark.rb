# Prints the SHA-256 of the keys that this node's Rails encrypts columns of the database with. The keys stay here.
require 'digest'
require 'yaml'

secrets = YAML.safe_load(File.read(ARGV.fetch(0)))
keys = Array(secrets.fetch('production').fetch('db_key_base'))
abort 'there is no db_key_base' if keys.empty? || keys.any? { |key| key.to_s.empty? }
puts Digest::SHA256.hexdigest(keys.join("\n"))
