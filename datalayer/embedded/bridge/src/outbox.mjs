import { Spool } from './spool.mjs'

const HIGH_WATER = 4 * 1024 * 1024
const PIECE = 256 * 1024

/** What a client has still to read. The backend answers in one go, so what a slow client leaves is spooled. */
export class Outbox {
  #socket
  #spool = null
  #ending = false

  constructor(socket, onDrain) {
    this.#socket = socket
    socket.on('drain', () => this.#drain() && onDrain())
  }

  get congested() {
    return this.#spool !== null || this.#socket.writableLength > HIGH_WATER
  }

  /** What `work` sends goes out in one piece. */
  together(work) {
    this.#socket.cork()
    try {
      work()
    } finally {
      this.#socket.uncork()
    }
  }

  send(bytes) {
    if (!bytes.length || this.#socket.destroyed) return
    if (!this.congested) return void this.#socket.write(bytes)
    this.#spool ??= new Spool()
    try {
      this.#spool.append(bytes)
    } catch (error) {
      this.#socket.destroy(error)
    }
  }

  /** Closes the connection once everything has been read. */
  end() {
    this.#ending = true
    if (!this.#spool) this.#socket.end()
  }

  close() {
    this.#spool?.close()
    this.#spool = null
  }

  #drain() {
    while (this.#spool?.length && !this.#socket.writableNeedDrain) this.#socket.write(this.#spool.take(PIECE))
    if (this.#spool?.length) return false
    this.close()
    if (this.#ending) this.#socket.end()
    return !this.congested
  }
}
