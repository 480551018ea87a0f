import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import { test } from 'node:test'
import { Scram, verifier } from '../../datalayer/embedded/bridge/src/auth.mjs'
import { answerChallenge, initialResponse, saslResponse } from './support/scram.mjs'

const SECRET = verifier('pencil')

test('the right password is let in, and the server proves that it knows it', () => {
  const scram = new Scram(SECRET)
  const challenge = scram.receive(initialResponse('rOprNGfwEbeRWgbNEkqO')).toString('utf8', 9)
  const { response, signature } = answerChallenge('pencil', 'rOprNGfwEbeRWgbNEkqO', challenge)
  assert.equal(scram.receive(response).toString('utf8', 9), `v=${signature}`)
  assert.equal(scram.done, true)
})

test('a wrong password, a changed nonce and garbage are refused', () => {
  for (const spoil of [
    (text) => text.replace(/p=.*/, 'p=' + crypto.randomBytes(32).toString('base64')),
    (text) => text.replace(/r=/, 'r=x'),
    (text) => text.replace(/c=[^,]*/, 'c=eSws'),
    () => 'nonsense',
    (text) => text.replace(/,p=.*/, ',p=AA=='),
  ]) {
    const scram = new Scram(SECRET)
    const challenge = scram.receive(initialResponse('abc')).toString('utf8', 9)
    const { text } = answerChallenge('pencil', 'abc', challenge)
    assert.throws(() => scram.receive(saslResponse(spoil(text))), { code: '28P01' })
    assert.equal(scram.done, false)
  }
})

test('channel binding and other mechanisms are not offered', () => {
  assert.throws(() => new Scram(SECRET).receive(initialResponse('abc', 'p=tls-unique,,')), { code: '08P01' })
  assert.throws(() => new Scram(SECRET).receive(initialResponse('abc', 'n,,', 'SCRAM-SHA-1')), { code: '08P01' })
})
