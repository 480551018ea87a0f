import crypto from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

const IN_MEMORY = 16 * 1024 * 1024

/** A byte queue that moves to an unlinked file once it is large, so that bulk data never fills the memory. */
export class Spool {
  #chunks = []
  #file = null
  #read = 0
  length = 0

  append(chunk) {
    if (this.#file === null && this.length + chunk.length > IN_MEMORY) this.#spill()
    if (this.#file === null) this.#chunks.push(chunk)
    else writeAll(this.#file, chunk)
    this.length += chunk.length
  }

  /** The next bytes, at most `max`; empty at the end. */
  take(max) {
    return this.#file === null ? this.#takeChunk(max) : this.#takeFile(max)
  }

  close() {
    if (this.#file !== null) fs.closeSync(this.#file)
    this.#file = null
    this.#chunks = []
  }

  #spill() {
    const name = path.join(os.tmpdir(), `spool-${crypto.randomUUID()}`)
    this.#file = fs.openSync(name, 'ax+', 0o600)
    fs.unlinkSync(name)
    for (const chunk of this.#chunks.splice(0)) writeAll(this.#file, chunk)
  }

  #takeChunk(max) {
    const chunk = this.#chunks[0] ?? Buffer.alloc(0)
    if (chunk.length <= max) this.#chunks.shift()
    else this.#chunks[0] = chunk.subarray(max)
    this.length -= Math.min(chunk.length, max)
    return chunk.subarray(0, max)
  }

  #takeFile(max) {
    const bytes = Buffer.allocUnsafe(Math.min(max, this.length))
    const count = fs.readSync(this.#file, bytes, 0, bytes.length, this.#read)
    this.#read += count
    this.length -= count
    return bytes.subarray(0, count)
  }
}

function writeAll(file, bytes) {
  for (let done = 0; done < bytes.length; ) done += fs.writeSync(file, bytes, done)
}
