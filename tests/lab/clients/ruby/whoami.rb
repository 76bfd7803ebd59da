# Asks STS who it is with the AWS SDK for Ruby v3; see ../README.md.
require "aws-sdk-core"

url, seconds, profile = ARGV
clients = [Aws::STS::Client.new(endpoint: url), Aws::STS::Client.new(endpoint: url, profile: profile)]
finish = Process.clock_gettime(Process::CLOCK_MONOTONIC) + seconds.to_i
rounds = 0
while Process.clock_gettime(Process::CLOCK_MONOTONIC) < finish
  clients.each(&:get_caller_identity)
  rounds += 1
  sleep 1
end
puts "ruby: rounds #{rounds}"
