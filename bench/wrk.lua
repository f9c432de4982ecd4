-- One request again and again: its method is the script's argument, its headers are wrk's.
function init(args) wrk.method = args[1] end

function done(summary, latency)
	local e = summary.errors
	print(string.format(
		'result {"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "errors": %d}',
		summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
		e.connect + e.read + e.write + e.timeout + e.status))
end
