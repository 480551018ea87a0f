import path from 'node:path'
import { parseArgs } from 'node:util'

const text = (fallback) => ({ type: 'string', default: fallback })
const OPTIONS = {
  runtime: text(),
  data: text(),
  'socket-dir': text(),
  'tcp-port': text(),
  lifetime: text('leases'),
  'wait-timeout-ms': text('30000'),
  'jobs-interval-ms': text('1000'),
  'state-file': text(),
  'first-lease-ms': text('15000'),
}

export function parseOptions(args, env) {
  const { values } = parseArgs({ args, options: OPTIONS })
  const options = {
    runtime: folder(values, 'runtime'),
    data: values.data === 'memory' ? null : folder(values, 'data'),
    socketDir: folder(values, 'socket-dir'),
    tcpPort: values['tcp-port'] === undefined ? null : natural(values, 'tcp-port'),
    password: env.DATALAYER_EMBEDDED_PASSWORD || null,
    lifetime: values.lifetime,
    waitTimeout: natural(values, 'wait-timeout-ms'),
    jobsInterval: natural(values, 'jobs-interval-ms'),
    stateFile: values['state-file'] ?? null,
    firstLease: natural(values, 'first-lease-ms'),
    testing: env.DATALAYER_EMBEDDED_TEST === '1',
  }
  if (!['leases', 'daemon'].includes(options.lifetime)) throw new Error('--lifetime must be leases or daemon')
  if (options.tcpPort !== null && !options.password) {
    throw new Error('--tcp-port needs a password in the environment variable DATALAYER_EMBEDDED_PASSWORD')
  }
  return options
}

function folder(values, name) {
  if (!values[name]) throw new Error(`--${name} is required`)
  return path.resolve(values[name])
}

function natural(values, name) {
  if (!/^\d+$/.test(values[name])) throw new Error(`--${name} must be a whole number`)
  return Number(values[name])
}
