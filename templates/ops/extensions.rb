# Prints the extensions of each database, one a line: `main pg_trgm`.
Gitlab::Database::EachDatabase.each_connection do |connection, name|
  connection.select_values('SELECT extname FROM pg_extension ORDER BY extname').each { |found| puts "#{name} #{found}" }
end
