// The client's side of SCRAM-SHA-256.
import crypto from 'node:crypto'
import * as wire from '../../../datalayer/embedded/bridge/src/wire.mjs'

const hmac = (key, text) => crypto.createHmac('sha256', key).update(text).digest()

export function initialResponse(nonce, header = 'n,,', mechanism = 'SCRAM-SHA-256') {
  const text = `${header}n=,r=${nonce}`
  return wire.message('p', wire.cstring(mechanism), wire.int32(text.length), Buffer.from(text))
}

export const saslResponse = (text) => wire.message('p', Buffer.from(text))

export function answerChallenge(password, nonce, challenge) {
  const [, r, s, i] = /^r=(.*),s=(.*),i=(.*)$/.exec(challenge)
  const salted = crypto.pbkdf2Sync(password, Buffer.from(s, 'base64'), Number(i), 32, 'sha256')
  const key = hmac(salted, 'Client Key')
  const signed = `n=,r=${nonce},${challenge},c=biws,r=${r}`
  const mask = hmac(crypto.createHash('sha256').update(key).digest(), signed)
  const text = `c=biws,r=${r},p=${Buffer.from(key.map((byte, at) => byte ^ mask[at])).toString('base64')}`
  return { text, response: saslResponse(text), signature: hmac(hmac(salted, 'Server Key'), signed).toString('base64') }
}
