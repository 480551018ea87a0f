// The control socket: leases, status and commands, a line of JSON each way.
import net from 'node:net'
import readline from 'node:readline'

/** `commands` maps an `op` to a function whose result is the answer; 'lease' is built in. */
export class Control {
  #leases = new Set()
  #ended = false

  constructor(commands, onLastLease) {
    this.commands = { ...commands, lease: (socket) => this.#lease(socket, onLastLease) }
    this.server = net.createServer((socket) => this.#serve(socket))
  }

  get leases() {
    return this.#leases.size
  }

  /** The process is about to go: whoever holds a lease sees it at once, and nobody gets one any more. */
  end() {
    this.#ended = true
    for (const socket of this.#leases) socket.destroy()
  }

  #serve(socket) {
    socket.on('error', () => {})
    readline.createInterface({ input: socket }).on('line', (line) => this.#answer(socket, line)).on('error', () => {})
  }

  #answer(socket, line) {
    const answer = { ok: true, ...this.#run(socket, line) }
    if (!socket.destroyed) socket.write(JSON.stringify(answer) + '\n')
  }

  #run(socket, line) {
    try {
      const { op } = JSON.parse(line)
      if (!Object.hasOwn(this.commands, op)) return { ok: false, error: `unknown command ${op}` }
      return this.commands[op](socket)
    } catch (error) {
      return { ok: false, error: error.message }
    }
  }

  #lease(socket, onLastLease) {
    if (this.#ended) return { ok: false, error: 'the embedded TimescaleDB is ending' }
    if (this.#leases.has(socket)) return
    this.#leases.add(socket)
    socket.once('close', () => this.#leases.delete(socket) && !this.#leases.size && onLastLease())
  }
}
