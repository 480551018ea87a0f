// One socket: framing, the start of the connection, and handing messages to the client's state.
import { Outbox } from './outbox.mjs'
import * as wire from './wire.mjs'

const STARTUP_LIMIT = 60_000
const HIGH_WATER = 16 * 1024 * 1024
const UNSETTABLE = ['user', 'database', 'options', 'replication', 'client_encoding'] // this build converts no encodings

export class Connection {
  #framer = new wire.Framer(false)
  #scram
  #greeting = []

  /** `scram` null trusts whoever can open the socket. */
  constructor(socket, scheduler, scram) {
    Object.assign(this, { socket, scheduler })
    this.#scram = scram
    this.client = scheduler.admit(new Outbox(socket, () => scheduler.drained(this.client)))
    this.client.onStep = () => this.socket.isPaused() && this.#throttle()
    this.timer = setTimeout(() => socket.destroy(), STARTUP_LIMIT)
    socket.setNoDelay?.(true)
    socket.on('data', (bytes) => this.#receive(bytes))
    socket.on('end', () => this.#ended())
    socket.on('error', () => {})
    socket.on('close', () => this.#ended())
  }

  #receive(bytes) {
    try {
      this.#framer.push(bytes)
      for (let message; !this.client.gone && (message = this.#framer.next()); ) this.#accept(message)
      this.#throttle()
    } catch (error) {
      this.#fail(error.code ?? 'XX000', error.message)
    }
  }

  /** A client that sends faster than it is served has to wait. */
  #throttle() {
    const full = this.client.queued > HIGH_WATER
    if (full !== this.socket.isPaused()) full ? this.socket.pause() : this.socket.resume()
  }

  #accept(message) {
    if (!this.#framer.typed) return this.#startup(wire.startupPacket(message))
    if (this.#scram && !this.#scram.done) return this.#authenticate(message)
    this.scheduler.receive(this.client, message)
  }

  #startup({ kind, parameters, unknown, newer, id, secret }) {
    if (kind === 'encryption') return this.client.outbox.send(Buffer.from('N'))
    if (kind === 'cancel') return this.#cancel(id, secret)
    this.#framer.typed = true
    if (newer || unknown.length) this.#greeting.push(wire.negotiateVersion(unknown))
    this.parameters = settings(parameters)
    if (!this.#scram) return this.#authenticated()
    this.client.outbox.send(Buffer.concat([...this.#greeting.splice(0), this.#scram.request()]))
  }

  #authenticate(message) {
    if (wire.typeOf(message) !== 'p') throw new wire.ProtocolError('08P01', 'expected an authentication message')
    this.client.outbox.send(this.#scram.receive(message))
    if (this.#scram.done) this.#authenticated()
  }

  #authenticated() {
    clearTimeout(this.timer)
    this.#greeting.push(wire.authentication(0))
    this.scheduler.start(this.client, this.parameters, () => this.#welcome(), (error) => this.#fail(error.code, error.message))
  }

  #welcome() {
    const key = wire.backendKeyData(this.client.id, this.client.secret)
    this.client.outbox.send(Buffer.concat([...this.#greeting, this.client.greeting(), key, wire.readyForQuery('I')]))
  }

  #cancel(id, secret) {
    this.scheduler.cancel(id, secret)
    this.#ended()
  }

  #fail(code, text) {
    this.client.outbox.send(wire.errorResponse('FATAL', code, text))
    this.#ended()
  }

  #ended() {
    clearTimeout(this.timer)
    if (this.socket.destroyed) this.client.outbox.close()
    this.scheduler.end(this.client)
  }
}

/** The settings among the start-up parameters, those in `options=-c name=value` included. */
function settings(parameters) {
  const chosen = new Map()
  for (const [, name, value] of (parameters.get('options') ?? '').matchAll(/(?:-c\s*|--)([\w.-]+)=((?:\\.|\S)*)/g)) {
    chosen.set(name.replaceAll('-', '_'), value.replace(/\\(.)/g, '$1'))
  }
  for (const [name, value] of parameters) {
    if (!UNSETTABLE.includes(name) && !name.startsWith('_pq_.')) chosen.set(name, value)
  }
  chosen.delete('client_encoding')
  return chosen
}
