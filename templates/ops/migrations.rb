# Prints the background migrations that are not through, one a line. 3 is finished, 6 is finalized.
Gitlab::Database::EachDatabase.each_connection do |connection, name|
  rows = connection.select_rows(<<~SQL)
    SELECT job_class_name, table_name, status FROM batched_background_migrations WHERE status NOT IN (3, 6) ORDER BY id
  SQL
  rows.each { |job, table, status| puts "#{name} #{job} #{table} #{status}" }
end
puts 'read'
