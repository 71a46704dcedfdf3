# Prints, for a sample of projects, a digest of all refs of their repository as Gitaly lists them: one JSON line each.
# The same seed and the same projects make the same sample.
require 'digest'
require 'json'

size = Integer(ARGV.fetch(0))
seed = ARGV.fetch(1)
order = Arel.sql(Project.sanitize_sql(['MD5(projects.id::text || ?)', seed]))
Project.order(order).limit(size).each do |project|
  repository = project.repository
  digest =
    if repository.exists?
      refs = repository.raw_repository.list_refs(['refs/'])
      lines = refs.map { |ref| "#{ref.target} #{ref.name}\n" }.sort
      Digest::SHA256.hexdigest(lines.join)
    else
      'none'
    end
  puts JSON.generate(repository: project.disk_path, refs: digest)
end
