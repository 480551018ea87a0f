// The folder of a database: opened in place, or made beside it and moved there complete.
import fs from 'node:fs'
import path from 'node:path'
import { Backend } from './backend.mjs'

const STATE_OFFSET = 16 // of DBState in pg_control
const SHUT_DOWN = 1

export async function openDatabase({ runtime, data, progress }) {
  if (data === null) {
    progress('initialising')
    return Backend.open(runtime, null)
  }
  if (!fs.existsSync(data) || !fs.readdirSync(data).length) return create(runtime, data, progress)
  fs.chmodSync(data, 0o700)
  progress(wasShutDown(data) ? 'opening' : 'recovering')
  return Backend.open(runtime, data)
}

/** A kill during initialisation leaves a cluster that never opens: it must not stand where the database belongs. */
async function create(runtime, data, progress) {
  const shelter = `${data}.initialising` // private, whatever access initdb gives to the folder inside
  const draft = path.join(shelter, 'data')
  fs.rmSync(shelter, { recursive: true, force: true })
  fs.mkdirSync(shelter, { recursive: true, mode: 0o700 })
  progress('initialising')
  const backend = await Backend.open(runtime, draft)
  backend.query('CHECKPOINT')
  fs.chmodSync(draft, 0o700)
  fs.renameSync(draft, data)
  backend.moveTo(data)
  fs.rmdirSync(shelter)
  syncFolder(path.dirname(data))
  return backend
}

function wasShutDown(data) {
  const control = path.join(data, 'global', 'pg_control')
  if (!fs.existsSync(control)) throw new Error(`${data} is not a database folder`)
  return fs.readFileSync(control).readInt32LE(STATE_OFFSET) === SHUT_DOWN
}

function syncFolder(folder) {
  const handle = fs.openSync(folder, 'r')
  fs.fsyncSync(handle)
  fs.closeSync(handle)
}
