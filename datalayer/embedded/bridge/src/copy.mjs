import { Spool } from './spool.mjs'
import { copyFail } from './wire.mjs'

/** COPY FROM STDIN: the backend cannot wait for data, so all of it is gathered before the backend sees any. */
export class CopyIn {
  #command
  #failed = false
  spool = new Spool()

  constructor(command, facts) {
    this.#command = command
    this.facts = facts
    this.#append(command)
  }

  /** Takes a message; true when that was the last one and `spool` is complete. */
  take(type, message) {
    if ('HS'.includes(type)) return false // a backend, too, ignores Flush and Sync here
    if ('dcf'.includes(type)) this.#append(message)
    else this.#fail('unexpected message during COPY from stdin')
    return type !== 'd'
  }

  #append(message) {
    if (this.#failed) return
    try {
      this.spool.append(message)
    } catch (error) {
      this.#fail(`could not keep the data: ${error.message}`)
    }
  }

  #fail(reason) {
    if (this.#failed) return
    this.#failed = true
    this.spool.close()
    this.spool = new Spool()
    this.spool.append(this.#command)
    this.spool.append(copyFail(reason))
  }
}
