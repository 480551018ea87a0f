// The PostgreSQL wire protocol, version 3: encoding, decoding and framing of messages.

export const MAX_MESSAGE = 256 * 1024 * 1024
const MAX_STARTUP = 10_000
const SSL_REQUEST = 80877103
const GSS_REQUEST = 80877104
const CANCEL_REQUEST = 80877102

export class ProtocolError extends Error {
  constructor(code, text) {
    super(text)
    this.code = code
  }
}

export const typeOf = (message) => String.fromCharCode(message[0])
export const cstring = (text) => Buffer.from(text + '\0')

export function int32(number) {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(number)
  return bytes
}

export function message(type, ...parts) {
  const body = Buffer.concat(parts)
  const head = Buffer.alloc(5)
  head[0] = type.charCodeAt(0)
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

export const SYNC = message('S')
export const query = (sql) => message('Q', cstring(sql))
export const parse = (name, sql, types = Buffer.alloc(2)) => message('P', cstring(name), cstring(sql), types)
export const bind = (portal, name) => message('B', cstring(portal), cstring(name), Buffer.alloc(6))
export const execute = (portal) => message('E', cstring(portal), int32(0))
export const close = (kind, name) => message('C', Buffer.from(kind), cstring(name))
export const closeStatement = (name) => close('S', name)
export const readyForQuery = (status) => message('Z', Buffer.from(status))
export const commandComplete = (tag) => message('C', cstring(tag))
export const parameterStatus = (name, value) => message('S', cstring(name), cstring(value))
export const authentication = (code, data = Buffer.alloc(0)) => message('R', int32(code), data)
export const backendKeyData = (id, secret) => message('K', int32(id), int32(secret))
export const copyInResponse = (binary) => message('G', Buffer.from([binary ? 1 : 0, 0, 0]))
export const copyFail = (reason) => message('f', cstring(reason))
export const negotiateVersion = (unknown) =>
  message('v', int32(3 << 16), int32(unknown.length), ...unknown.map(cstring))

export function errorResponse(severity, code, text) {
  const fields = [`S${severity}`, `V${severity}`, `C${code}`, `M${text}`]
  return message('E', ...fields.map(cstring), Buffer.from([0]))
}

/** A zero-terminated string and the offset after it. */
export function readCString(bytes, offset) {
  const end = bytes.indexOf(0, offset)
  if (end < 0) throw new ProtocolError('08P01', 'invalid string in message')
  return [bytes.toString('utf8', offset, end), end + 1]
}

/** The fields of an ErrorResponse by their one-letter codes. */
export function errorFields(response) {
  const fields = {}
  for (let offset = 5; response[offset]; ) {
    const [value, next] = readCString(response, offset + 1)
    fields[String.fromCharCode(response[offset])] = value
    offset = next
  }
  return fields
}

/** The columns of a DataRow in text format. */
export function dataRow(row) {
  const values = []
  let offset = 7
  for (let left = row.readInt16BE(5); left > 0; left--) {
    const length = row.readInt32BE(offset)
    offset += 4
    values.push(length < 0 ? null : row.toString('utf8', offset, offset + length))
    offset += Math.max(length, 0)
  }
  return values
}

/** What the first, untyped packet of a connection asks for. */
export function startupPacket(packet) {
  const code = packet.readInt32BE(4)
  if (code === SSL_REQUEST || code === GSS_REQUEST) return { kind: 'encryption' }
  if (code === CANCEL_REQUEST) return { kind: 'cancel', id: packet.readInt32BE(8), secret: packet.readInt32BE(12) }
  if (code >> 16 !== 3) throw new ProtocolError('0A000', `unsupported frontend protocol ${code >> 16}.${code & 0xffff}`)
  const parameters = new Map()
  for (let offset = 8; packet[offset]; ) {
    let name, value
    ;[name, offset] = readCString(packet, offset)
    ;[value, offset] = readCString(packet, offset)
    parameters.set(name, value)
  }
  const unknown = [...parameters.keys()].filter((name) => name.startsWith('_pq_.'))
  return { kind: 'startup', parameters, unknown, newer: (code & 0xffff) > 0 }
}

/** Cuts a byte stream, however it was chunked, into whole messages. */
export class Framer {
  #chunks = []
  #size = 0

  /** `typed` is false until the startup packet has been read: that one has no type byte. */
  constructor(typed = true) {
    this.typed = typed
  }

  push(chunk) {
    this.#chunks.push(chunk)
    this.#size += chunk.length
  }

  next() {
    const prefix = this.typed ? 1 : 0
    if (this.#size < prefix + 4) return null
    const length = this.#front(prefix + 4).readInt32BE(prefix)
    this.#check(length)
    return this.#size < length + prefix ? null : this.#take(length + prefix)
  }

  #check(length) {
    if (length < (this.typed ? 4 : 8)) throw new ProtocolError('08P01', 'invalid message length')
    if (!this.typed && length > MAX_STARTUP) throw new ProtocolError('08P01', 'invalid length of startup packet')
    if (length > MAX_MESSAGE) throw new ProtocolError('54000', `a message of ${length} bytes is over the limit of ${MAX_MESSAGE}`)
  }

  #front(length) {
    if (this.#chunks[0].length < length) this.#chunks = [Buffer.concat(this.#chunks)]
    return this.#chunks[0]
  }

  #take(length) {
    const bytes = this.#front(length)
    if (bytes.length === length) this.#chunks.shift()
    else this.#chunks[0] = bytes.subarray(length)
    this.#size -= length
    return bytes.subarray(0, length)
  }
}
