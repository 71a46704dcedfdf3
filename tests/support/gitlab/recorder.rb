# Reads gitlab.rb files the way the package does, and says what each of them sets.
#
# On stdin: {"secrets": {name: value}, "files": {name: text}}. On stdout, for each file: the calls it made, the
# settings of every section, the secrets it fetched, the files and environment it would write, and the parser's
# warnings. The rules are those of the package's settings_dsl.rb and config_mash.rb: a section is a method, members
# that are not there come into being when they are looked at, hashes become mashes, symbols are texts.
require 'json'
require 'stringio'

class Mash < Hash
  def [](key)
    key = key.to_s
    self[key] = Mash.new unless key?(key)
    super(key)
  end

  def []=(key, value)
    super(key.to_s, Mash.of(value))
  end

  def self.of(value)
    case value
    when Mash then value
    when Hash then value.each_with_object(Mash.new) { |(key, member), mash| mash[key] = member }
    when Array then value.map { |member| of(member) }
    when Symbol then value.to_s
    else value
    end
  end
end

class Recorder
  # What the file sees of the world instead of the real thing.
  class Secrets
    attr_reader :fetched

    def initialize(secrets)
      @secrets = secrets
      @fetched = []
    end

    def fetch(name)
      @fetched |= [name]
      @secrets.fetch(name)
    end
  end

  ENV = {}

  module JSON
    def self.parse(text)
      Recorder.secrets = Secrets.new(::JSON.parse(text))
    end
  end

  module File
    def self.read(path)
      raise "#{path} is not the file of secrets" unless path == '/etc/gantry/secrets.json'

      Recorder.world
    end

    # Nothing is there: the flag of the run that gives birth to the secrets is not.
    def self.exist?(_path)
      false
    end

    def self.write(path, text, perm: 0o644)
      Recorder.written[path] = { 'text' => text, 'mode' => perm.to_s(8) }
    end

    def self.chmod(mode, path)
      Recorder.written.fetch(path)['mode'] = mode.to_s(8)
    end

    def self.chown(user, group, path)
      Recorder.written.fetch(path)['owner'] = [user, group]
    end
  end

  # The users of a node with GitLab's package.
  module Etc
    Group = Struct.new(:gid)

    def self.getgrnam(name)
      raise ArgumentError, name unless name == 'git'

      Group.new(998)
    end
  end

  class << self
    attr_accessor :secrets, :world, :written
  end

  attr_reader :calls, :settings

  def initialize
    @calls = {}
    @settings = Mash.new
  end

  def respond_to_missing?(*)
    true
  end

  def method_missing(name, *arguments)
    return @settings[name] if arguments.empty?
    raise "#{name} was called with #{arguments.length} values" unless arguments.length == 1

    @calls[name] = arguments.first
  end
end

input = JSON.parse($stdin.read)
Recorder.world = JSON.generate(input['secrets'])
results = input['files'].to_h do |name, text|
  Recorder.secrets = nil
  Recorder.written = {}
  Recorder::ENV.clear
  warnings = StringIO.new
  stderr, verbose = $stderr, $VERBOSE
  begin
    $stderr, $VERBOSE = warnings, true
    RubyVM::InstructionSequence.compile(text, name)
  ensure
    $stderr, $VERBOSE = stderr, verbose
  end
  recorder = Recorder.new
  recorder.instance_eval(text, name)
  [name, {
    'calls' => recorder.calls,
    'settings' => recorder.settings,
    'fetched' => Recorder.secrets&.fetched || [],
    'written' => Recorder.written,
    'env' => Recorder::ENV.dup,
    'warnings' => warnings.string
  }]
end
puts JSON.generate(results)
