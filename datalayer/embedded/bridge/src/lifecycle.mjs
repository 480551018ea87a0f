// How the process ends: in order (0), because the WebAssembly crashed (70); main.mjs knows the third (71).
import { Crash } from './backend.mjs'

const FLUSH = 500
export const CRASHED = 70
export const NOT_STARTED = 71

export class Lifecycle {
  #ending = false
  #cleanups = []

  constructor({ inMemory, log }) {
    Object.assign(this, { inMemory, log })
  }

  onEnd(cleanup) {
    this.#cleanups.push(cleanup)
  }

  /** Tells every client, then closes the database. */
  shutdown(reason, { scheduler, backend }) {
    if (this.#ending) return
    this.#ending = true
    this.log(`shutting down: ${reason}`)
    scheduler.stop('57P01', 'the embedded TimescaleDB is shutting down')
    this.#cleanUp()
    setImmediate(() => process.exit(this.#close(backend))) // after the sockets had their turn
  }

  crash(error, scheduler) {
    if (this.#ending) return
    this.#ending = true
    const reason = error instanceof Crash ? error.message : `${error.name}: ${error.message}`
    this.log(`crashed: ${reason} ${((error.cause ?? error).stack ?? '').split('\n').slice(1, 6).map((line) => line.trim()).join(' | ')}`)
    scheduler.stop('57P02', `the embedded TimescaleDB crashed (${reason}); ${this.#afterCrash()}`)
    this.#cleanUp()
    setTimeout(() => process.exit(CRASHED), FLUSH)
  }

  #afterCrash() {
    if (this.inMemory) return 'the data in memory is gone'
    return 'the data on disk is safe up to the last commit, reconnect to reopen it'
  }

  #close(backend) {
    try {
      backend.shutdown()
      return 0
    } catch (error) {
      this.log(`shutdown failed: ${error.message}`)
      return CRASHED
    }
  }

  #cleanUp() {
    for (const cleanup of this.#cleanups.splice(0)) cleanup()
  }
}
