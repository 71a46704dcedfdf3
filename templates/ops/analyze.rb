# Gathers the statistics that a restore does not bring back.
Gitlab::Database::EachDatabase.each_connection do |connection, name|
  connection.execute('SET statement_timeout = 0')
  connection.execute('ANALYZE')
  puts "#{name} analyzed"
end
