/**
 * The Lua scripts of the Redis read model. What the seals that they read and write are for: see redis.ts. They are
 * called by their digest, and sent whole where the server does not know them. All but `stepSeals` and `dropKeys` work in one hash slot;
 * these two reach into all slots of the server that they run on, as scripts without a `#!` line may.
 */
import { createHash } from 'node:crypto'

/** The server's incarnation: another one after each start and on each replica, so a seal does not survive either. */
const RUN = `local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')`

export interface Script<Reply> {
  readonly lua: string
  readonly digest: string
  /** How many of the values that it is called with are keys; the first ones. */
  readonly keys: number
  /** Only a type. */
  readonly reply?: Reply
}

function script<Reply>(keys: number, lua: string): Script<Reply> {
  return { lua, digest: createHash('sha1').update(lua).digest('hex'), keys }
}

export const scripts = {
  /** (seal, document, mark): the document if the seal is whole, and the mark */
  readCustomer: script<[string | null, string | null]>(
    3,
    `local mark = redis.call('GET', KEYS[3])
     local seal = redis.call('GET', KEYS[1])
     if not seal then return {false, mark} end
     ${RUN}
     if seal ~= 'complete:' .. run then return {false, mark} end
     return {redis.call('GET', KEYS[2]), mark}`,
  ),

  /** (document; expected revision, value): the revision now stored. A value begins with its revision and a blank. */
  putDocument: script<number>(
    1,
    `local stored = tonumber(string.match(redis.call('GETRANGE', KEYS[1], 0, 20), '^%d+') or -1)
     if stored ~= tonumber(ARGV[1]) then return stored end
     redis.call('SET', KEYS[1], ARGV[2])
     return tonumber(string.match(ARGV[2], '^%d+'))`,
  ),

  /**
   * (the first key; for each document key, expected revision, value): of each that was not written its number, from 0,
   * and the revision that is stored. A plain comparison of the values' beginnings: this is what a projection waits for.
   */
  putDocuments: script<number[]>(
    1,
    `local refused = {}
     for i = 1, #ARGV, 3 do
       local key, expected = ARGV[i], ARGV[i + 1]
       local written
       if expected == '-1' then written = redis.call('SET', key, ARGV[i + 2], 'NX')
       elseif redis.call('GETRANGE', key, 0, #expected) == expected .. ' ' then
         written = redis.call('SET', key, ARGV[i + 2])
       end
       if not written then
         refused[#refused + 1] = (i - 1) / 3
         refused[#refused + 1] = tonumber(string.match(redis.call('GETRANGE', key, 0, 20), '^%d+') or -1)
       end
     end
     return refused`,
  ),

  /** (a document; pairs of documents' keys on the same server): the numbers, from 0, of the pairs that are not the same */
  compareDocuments: script<number[]>(
    1,
    `local differing = {}
     for i = 1, #ARGV, 2 do
       if redis.call('GET', ARGV[i]) ~= redis.call('GET', ARGV[i + 1]) then
         differing[#differing + 1] = (i - 1) / 2
       end
     end
     return differing`,
  ),

  /** (a document; keys on the same server): the numbers, from 0, of the keys that are not there */
  missingDocuments: script<number[]>(
    1,
    `local missing = {}
     for i = 1, #ARGV do
       if redis.call('EXISTS', ARGV[i]) == 0 then missing[#missing + 1] = i - 1 end
     end
     return missing`,
  ),

  /** (place; value): keeps the later one. A value begins with its position in 40 digits, so that texts compare as positions do. */
  raisePlace: script<null>(
    1,
    `local stored = redis.call('GETRANGE', KEYS[1], 0, 39)
     if stored < string.sub(ARGV[1], 1, 40) then redis.call('SET', KEYS[1], ARGV[1]) end
     return false`,
  ),

  /** (hash): its fields and values in turn */
  readHash: script<string[]>(1, `return redis.call('HGETALL', KEYS[1])`),

  /** (hash; field, value) */
  setField: script<null>(
    1,
    `redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
     return false`,
  ),

  /** (hash; field) */
  dropField: script<null>(
    1,
    `redis.call('HDEL', KEYS[1], ARGV[1])
     return false`,
  ),

  /** (generations; from, to): 1 where `to` is live now, 0 where another than `from` was */
  switchGeneration: script<number>(
    1,
    `if (redis.call('HGET', KEYS[1], 'live') or '1') ~= ARGV[1] then return 0 end
     redis.call('HSET', KEYS[1], 'live', ARGV[2], ARGV[1], '', ARGV[2], '')
     return 1`,
  ),

  /** (mark; revision) */
  raiseMark: script<null>(
    1,
    `local mark = tonumber(redis.call('GET', KEYS[1]) or -1)
     if tonumber(ARGV[1]) > mark then redis.call('SET', KEYS[1], ARGV[1]) end
     return false`,
  ),

  /**
   * (checkpoint, seal of its slot; expected value, next value, epoch, 'begin' or 'go on'): the value now stored, '' for
   * none, and whether the seal is broken, so that nothing was stored. 'begin' puts a new seal under it.
   */
  setCheckpoint: script<[string, number]>(
    2,
    `${RUN}
     local stored = redis.call('GET', KEYS[1]) or ''
     if stored ~= ARGV[1] then return {stored, 0} end
     local filling = 'filling:' .. ARGV[3] .. ':' .. run
     local seal = redis.call('GET', KEYS[2])
     if seal ~= 'complete:' .. run then
       if ARGV[4] == 'begin' then redis.call('SET', KEYS[2], filling)
       elseif seal ~= filling then return {stored, 1} end
     end
     redis.call('SET', KEYS[1], ARGV[2])
     return {ARGV[2], 0}`,
  ),

  /** (key; expected value): removes the key if it still has the value. */
  dropValue: script<null>(
    1,
    `if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
     return false`,
  ),

  /**
   * (a seal; step, epoch, seals of slots of the same server): how many of these are not complete after the step.
   * 'begin' marks a slot that is not complete as being filled; 'complete' completes those that have been whole since the
   * epoch began; 'check' changes nothing.
   */
  stepSeals: script<number>(
    1,
    `${RUN}
     local complete = 'complete:' .. run
     local filling = 'filling:' .. ARGV[2] .. ':' .. run
     local broken = 0
     for i = 3, #ARGV do
       local seal = redis.call('GET', ARGV[i])
       if seal ~= complete then
         if ARGV[1] == 'begin' then redis.call('SET', ARGV[i], filling) end
         if ARGV[1] == 'complete' and seal == filling then redis.call('SET', ARGV[i], complete)
         else broken = broken + 1 end
       end
     end
     return broken`,
  ),

  /** (a key; keys of the same server) */
  dropKeys: script<null>(
    1,
    `for i = 1, #ARGV do redis.call('UNLINK', ARGV[i]) end
     return false`,
  ),
}

type Scripts = typeof scripts
type Reply<S> = S extends Script<infer R> ? R : never

/** The scripts as functions of their keys and arguments. */
export type ScriptCommands = {
  readonly [S in keyof Scripts]: (...values: string[]) => Promise<Reply<Scripts[S]>>
}

/**
 * @param send sends one command to where its key lies
 */
export function scriptCommands(send: (key: string, command: string[]) => Promise<unknown>): ScriptCommands {
  const callers = Object.entries(scripts).map(([name, { lua, digest, keys }]: [string, Script<unknown>]) => {
    const run = (...values: string[]) => {
      const key = values[0] as string
      return send(key, ['EVALSHA', digest, String(keys), ...values]).catch((error: Error) => {
        if (!error.message.startsWith('NOSCRIPT')) throw error
        return send(key, ['EVAL', lua, String(keys), ...values])
      })
    }
    return [name, run]
  })
  return Object.fromEntries(callers) as ScriptCommands
}
