// Plays the background workers: runs due jobs while nobody uses the session, one job per idle moment.
import fs from 'node:fs'
import { nextStart } from './plan.mjs'

const BETWEEN_JOBS = 20
const JOBS = `
  SELECT job_id, proc_schema || '.' || proc_name, hypertable_schema || '.' || hypertable_name, scheduled, fixed_schedule,
    extract(epoch FROM schedule_interval) * 1000, extract(epoch FROM retry_period) * 1000, max_retries,
    extract(epoch FROM initial_start) * 1000, CASE WHEN isfinite(next_start) THEN to_char(next_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') END
  FROM timescaledb_information.jobs WHERE job_id >= 1000 ORDER BY job_id`

export class Jobs {
  #runs
  #jobs = []
  #timer

  constructor(scheduler, { stateFile, interval, log }) {
    Object.assign(this, { scheduler, stateFile, interval, log })
    this.#runs = readState(stateFile)
    if (interval) this.#timer = setTimeout(() => this.#tick(), interval).unref() // 0: only when asked
  }

  stop() {
    clearTimeout(this.#timer)
  }

  /** Runs everything that is due now; null when a client has the session. */
  runDue() {
    const done = []
    const free = this.scheduler.whenIdle((backend) => {
      this.#read(backend)
      for (const job of this.#due()) done.push(this.#run(backend, job))
    })
    return free ? done : null
  }

  list() {
    this.scheduler.whenIdle((backend) => this.#read(backend))
    return this.#jobs.map((job) => this.#describe(job))
  }

  #tick() {
    let more = false
    this.scheduler.whenIdle((backend) => {
      this.#read(backend)
      const due = this.#due()
      if (due.length) this.#run(backend, due[0])
      more = due.length > 1
    })
    this.#timer = setTimeout(() => this.#tick(), more ? BETWEEN_JOBS : this.interval).unref()
  }

  #read(backend) {
    this.#jobs = backend.query(JOBS).map(asJob)
    const known = new Set(this.#jobs.map((job) => job.key))
    for (const key of Object.keys(this.#runs)) if (!known.has(key)) delete this.#runs[key]
  }

  #due() {
    const now = Date.now()
    const due = this.#jobs.filter((job) => job.scheduled && this.#next(job, now) <= now)
    return due.sort((a, b) => this.#next(a, now) - this.#next(b, now))
  }

  #next(job, now) {
    return nextStart(job, this.#runs[job.key], now)
  }

  #run(backend, job) {
    const run = (this.#runs[job.key] ??= { runs: 0, failures: 0, consecutive: 0 })
    Object.assign(run, { started: Date.now(), status: 'ok', error: null, asked: job.asked, runs: run.runs + 1 })
    try {
      backend.query(`CALL run_job(${job.id})`)
    } catch (error) {
      if (!error.code) throw error
      Object.assign(run, { status: 'failed', error: error.message, failures: run.failures + 1 })
      this.log(`job ${job.id} (${job.proc}) failed: ${error.message}`)
    }
    run.consecutive = run.status === 'ok' ? 0 : run.consecutive + 1
    run.finished = Date.now()
    this.#save()
    return this.#describe(job)
  }

  #describe(job) {
    const run = this.#runs[job.key]
    return {
      job_id: job.id,
      proc: job.proc,
      hypertable: job.hypertable,
      scheduled: job.scheduled,
      next_start: iso(this.#next(job, Date.now())),
      last_start: run?.started ? iso(run.started) : null,
      last_status: run?.status ?? null,
      last_error: run?.error ?? null,
      runs: run?.runs ?? 0,
      failures: run?.failures ?? 0,
    }
  }

  #save() {
    if (!this.stateFile) return
    try {
      fs.writeFileSync(`${this.stateFile}.new`, JSON.stringify(this.#runs), { mode: 0o600 })
      fs.renameSync(`${this.stateFile}.new`, this.stateFile)
    } catch (error) {
      this.log(`could not remember the jobs: ${error.message}`)
    }
  }
}

/** The key tells a job from another one that got its number after it was removed. */
function asJob([id, proc, hypertable, scheduled, fixed, interval, retryPeriod, maxRetries, initialStart, asked]) {
  return {
    id: Number(id), key: `${id} ${proc} ${hypertable}`, proc, hypertable, asked,
    scheduled: scheduled === 't', fixedSchedule: fixed === 't', interval: Number(interval), retryPeriod: Number(retryPeriod),
    maxRetries: Number(maxRetries), initialStart: initialStart === null ? null : Number(initialStart),
  }
}

function readState(file) {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8'))
  } catch {
    return {} // none yet
  }
}

const iso = (time) => new Date(time).toISOString()
