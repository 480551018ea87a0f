import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nextStart } from '../../datalayer/embedded/bridge/src/plan.mjs'

const JOB = { interval: 60_000, retryPeriod: 5000, maxRetries: 2, fixedSchedule: false, initialStart: null, asked: null }
const NOW = 1_000_000
const ran = (more) => ({ finished: NOW, status: 'ok', consecutive: 0, ...more })

test('a job that never ran starts at once, or when it was told to', () => {
  assert.equal(nextStart(JOB, undefined, NOW), NOW)
  assert.equal(nextStart({ ...JOB, initialStart: NOW + 7 }, undefined, NOW), NOW + 7)
})

test('the interval counts from the end of the last run, in its present length', () => {
  assert.equal(nextStart(JOB, ran(), NOW), NOW + 60_000)
  assert.equal(nextStart({ ...JOB, interval: 10 }, ran(), NOW), NOW + 10)
})

test('a fixed schedule keeps to its slots, however long a run took or how late it was', () => {
  const job = { ...JOB, fixedSchedule: true, initialStart: NOW - 90_000 }
  assert.equal(nextStart(job, ran(), NOW), NOW + 30_000)
  assert.equal(nextStart({ ...job, initialStart: NOW + 5 }, ran(), NOW), NOW + 5)
})

test('a failed job is retried after its retry period, as often as it may', () => {
  assert.equal(nextStart(JOB, ran({ status: 'failed', consecutive: 2 }), NOW), NOW + 5000)
  assert.equal(nextStart(JOB, ran({ status: 'failed', consecutive: 3 }), NOW), NOW + 60_000)
  assert.equal(nextStart({ ...JOB, maxRetries: -1 }, ran({ status: 'failed', consecutive: 99 }), NOW), NOW + 5000)
})

test('a start asked for with alter_job counts once', () => {
  const asked = new Date(NOW + 3).toISOString()
  assert.equal(nextStart({ ...JOB, asked }, ran(), NOW), NOW + 3)
  assert.equal(nextStart({ ...JOB, asked }, ran({ asked }), NOW), NOW + 60_000)
})

test('a clock that was set back does not stop the jobs', () => {
  assert.equal(nextStart(JOB, ran({ finished: NOW + 1e9 }), NOW), NOW + 60_000)
})
