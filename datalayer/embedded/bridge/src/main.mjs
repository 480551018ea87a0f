import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { verifier, Scram } from './auth.mjs'
import { openDatabase } from './cluster.mjs'
import { Connection } from './connection.mjs'
import { Control } from './control.mjs'
import { Jobs } from './jobs.mjs'
import { Lifecycle, NOT_STARTED } from './lifecycle.mjs'
import { parseOptions } from './options.mjs'
import { Scheduler } from './scheduler.mjs'

const CHECKPOINT_INTERVAL = 2000

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')
const log = (line) => process.stderr.write(`embedded TimescaleDB: ${line.replace(/\s*\n\s*/g, ' | ')}\n`)
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {}) // the reader may leave

process.umask(0o077)
try {
  const options = parseOptions(process.argv.slice(2), process.env)
  delete process.env.DATALAYER_EMBEDDED_PASSWORD
  say({ phase: 'loading' })
  const backend = await openDatabase({ ...options, progress: (phase) => say({ phase }) })
  say({ ready: true, ...(await serve(backend, options)), ms: Math.round(performance.now()) })
} catch (error) {
  process.exitCode = NOT_STARTED
  say({ error: error.message.split('\n')[0] })
  setImmediate(() => process.exit(NOT_STARTED))
}

async function serve(backend, options) {
  const lifecycle = new Lifecycle({ inMemory: options.data === null, log })
  const scheduler = new Scheduler(backend, { waitTimeout: options.waitTimeout, onCrash: (error) => lifecycle.crash(error, scheduler) })
  const jobs = new Jobs(scheduler, { stateFile: options.stateFile, interval: options.jobsInterval, log })
  const checkpoints = setInterval(() => scheduler.checkpoint(), CHECKPOINT_INTERVAL)
  const stop = (reason) => lifecycle.shutdown(reason, { scheduler, backend })
  const facts = { pid: process.pid, tcp_port: null, ...versions(backend) }

  const control = new Control({
    status: () => ({ ...facts, ...status(scheduler, control, jobs), data: options.data ?? 'memory' }),
    stop: () => void setImmediate(stop, 'asked to stop'),
    run_jobs: () => ran(jobs.runDue()),
    ...(options.testing && { crash: () => void setImmediate(() => scheduler.crash()) }),
  }, () => options.lifetime === 'leases' && stop('the last lease has ended'))

  const files = ['.s.PGSQL.5432', 'control.sock'].map((name) => path.join(options.socketDir, name))
  lifecycle.onEnd(() => files.forEach((file) => fs.rmSync(file, { force: true })))
  lifecycle.onEnd(() => control.end())
  lifecycle.onEnd(() => (jobs.stop(), clearInterval(checkpoints)))
  for (const file of files) fs.rmSync(file, { force: true })
  await listen(postgres(scheduler, () => null), { path: files[0] })
  await listen(control.server, { path: files[1] })
  for (const file of files) fs.chmodSync(file, 0o600)
  if (options.tcpPort !== null) facts.tcp_port = await listenOnLoopback(scheduler, options)

  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => stop(signal))
  process.on('uncaughtException', (error) => lifecycle.crash(error, scheduler))
  if (options.lifetime === 'leases') setTimeout(() => control.leases || stop('no lease was taken'), options.firstLease)
  return facts
}

function postgres(scheduler, scram) {
  return net.createServer({ allowHalfOpen: true }, (socket) => new Connection(socket, scheduler, scram()))
}

async function listenOnLoopback(scheduler, { tcpPort, password }) {
  const secret = verifier(password)
  const server = postgres(scheduler, () => new Scram(secret))
  await listen(server, { port: tcpPort, host: '127.0.0.1' })
  return server.address().port
}

function listen(server, address) {
  return new Promise((resolve, reject) => server.once('error', reject).listen(address, resolve))
}

function versions(backend) {
  const [[timescaledb]] = backend.query("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
  return { postgres: backend.setting('server_version'), timescaledb, license: backend.setting('timescaledb.license') }
}

function status(scheduler, control, jobs) {
  return {
    uptime_s: Math.round(process.uptime()),
    clients: scheduler.clients.size,
    leases: control.leases,
    busy: scheduler.busy,
    jobs: jobs.list(),
  }
}

const ran = (done) => (done ? { ran: done } : { ok: false, error: 'a client is using the database' })
