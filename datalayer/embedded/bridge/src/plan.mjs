// When a background job is due: TimescaleDB's rules, for the job's present settings and its last run.

/** Milliseconds since 1970. `job` as in timescaledb_information.jobs, `run` what is remembered of it. */
export function nextStart(job, run, now) {
  if (job.asked && job.asked !== run?.asked) return Date.parse(job.asked)
  if (!run?.finished) return job.initialStart ?? now
  const finished = Math.min(run.finished, now) // the clock may have been set back
  if (run.status === 'failed' && mayRetry(job, run)) return finished + Math.max(job.retryPeriod, 1000)
  if (!job.fixedSchedule || job.initialStart === null) return finished + job.interval
  return slotAfter(finished, job.initialStart, job.interval)
}

const mayRetry = (job, run) => job.maxRetries < 0 || run.consecutive <= job.maxRetries

function slotAfter(time, first, interval) {
  return time < first ? first : first + (Math.floor((time - first) / interval) + 1) * interval
}
