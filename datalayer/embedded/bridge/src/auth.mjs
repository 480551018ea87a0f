// SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's side, without channel binding: there is no TLS.
import crypto from 'node:crypto'
import { ProtocolError, authentication, cstring, readCString } from './wire.mjs'

const MECHANISM = 'SCRAM-SHA-256'
const ITERATIONS = 4096

const hmac = (key, text) => crypto.createHmac('sha256', key).update(text).digest()
const sha256 = (bytes) => crypto.createHash('sha256').update(bytes).digest()
const xor = (a, b) => Buffer.from(a.map((byte, i) => byte ^ b[i]))

/** What a server stores in place of the password. */
export function verifier(password, salt = crypto.randomBytes(16)) {
  const salted = crypto.pbkdf2Sync(password.normalize('NFKC'), salt, ITERATIONS, 32, 'sha256')
  return { salt, stored: sha256(hmac(salted, 'Client Key')), server: hmac(salted, 'Server Key') }
}

/** One exchange: feed the client's 'p' messages to `receive` until `done`. */
export class Scram {
  done = false
  #verifier
  #nonce = crypto.randomBytes(18).toString('base64')
  #transcript = null

  constructor(verifier) {
    this.#verifier = verifier
  }

  request() {
    return authentication(10, Buffer.concat([cstring(MECHANISM), Buffer.alloc(1)]))
  }

  receive(message) {
    return this.#transcript === null ? this.#first(message) : this.#final(message)
  }

  #first(message) {
    const [mechanism, at] = readCString(message, 5)
    const [, header, bare] = /^([ny],[^,]*,)(.*)$/s.exec(message.toString('utf8', at + 4)) ?? []
    if (mechanism !== MECHANISM || !bare) throw new ProtocolError('08P01', 'malformed SCRAM message')
    this.#nonce = attributes(bare).r + this.#nonce
    const challenge = `r=${this.#nonce},s=${this.#verifier.salt.toString('base64')},i=${ITERATIONS}`
    this.#transcript = { header, text: `${bare},${challenge}` }
    return authentication(11, Buffer.from(challenge))
  }

  #final(message) {
    const text = message.toString('utf8', 5)
    const { c: binding, r: nonce, p: proof } = attributes(text)
    const signed = `${this.#transcript.text},${text.slice(0, text.lastIndexOf(',p='))}`
    const bound = binding === Buffer.from(this.#transcript.header).toString('base64') && nonce === this.#nonce
    if (!bound || !this.#proves(proof ?? '', signed)) throw new ProtocolError('28P01', 'password authentication failed')
    this.done = true
    return authentication(12, Buffer.from(`v=${hmac(this.#verifier.server, signed).toString('base64')}`))
  }

  #proves(proof, signed) {
    const bytes = Buffer.from(proof, 'base64')
    if (bytes.length !== 32) return false
    return crypto.timingSafeEqual(sha256(xor(bytes, hmac(this.#verifier.stored, signed))), this.#verifier.stored)
  }
}

const attributes = (text) => Object.fromEntries(text.split(',').map((part) => [part[0], part.slice(2)]))
