/**
 * The Lua scripts of the Redis read model. What the seals that they read and write are for: see read-model.ts. They are
 * called by their digest, and sent in full if the server does not know them. All but `stepSeals` and `dropKeys` work in
 * one hash slot; these two reach into all slots of the server that they run on, as scripts without a `#!` line may.
 */
import { createHash } from 'node:crypto'
import type { RedisArgument } from '../../runtime/redis/driver.ts'

/**
 * The server's incarnation: the replication id of a master. It changes with each start and each promotion, so neither a
 * seal nor trust survives them. (It also changes when a master gets its first replica.) '' on a replica.
 */
const RUN = `local run = string.match(redis.call('INFO', 'replication'), 'role:master.-master_replid:(%x+)') or ''`

/** Returned for a key that does not hold a string, for instance a list of another program. */
export const UNREADABLE = 'unreadable'
const TEXT = `local function checked(value, instead)
       if type(value) ~= 'table' then return value end
       if not string.find(value.err, 'WRONGTYPE', 1, true) then error(value.err, 0) end
       return instead
     end
     local function text(key) return checked(redis.pcall('GET', key), '${UNREADABLE}') end
     local function beginning(key, last) return checked(redis.pcall('GETRANGE', key, 0, last), '') end`
/** A value of another type in place of a hash counts as missing, and is overwritten. */
const OWN_HASH = `if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('DEL', KEYS[1]) end`

export interface Script<Reply> {
  readonly lua: string
  readonly digest: string
  /** How many of the arguments are keys; they come first. */
  readonly keys: number
  /** Only for the types. */
  readonly reply?: Reply
}

function script<Reply>(keys: number, lua: string): Script<Reply> {
  return { lua, digest: createHash('sha1').update(lua).digest('hex'), keys }
}

export const scripts = {
  /**
   * (the slot's seal; for each customer document and mark, in the same slot): the incarnation, then each one's document,
   * if the seal is whole, and mark
   */
  readCustomers: script<[string, ...(string | null)[]]>(
    1,
    `${TEXT}
     ${RUN}
     local whole = text(KEYS[1]) == 'complete:' .. run
     local found = {run}
     for i = 1, #ARGV, 2 do
       found[i + 1] = whole and text(ARGV[i])
       found[i + 2] = text(ARGV[i + 1])
     end
     return found`,
  ),

  /**
   * (document; expected revision, value): null if it was written, otherwise the stored revision. A value begins with
   * its revision and a blank.
   */
  putDocument: script<number | null>(
    1,
    `${TEXT}
     local stored = tonumber(string.match(beginning(KEYS[1], 20), '^%d+') or -1)
     if stored ~= tonumber(ARGV[1]) then return stored end
     redis.call('SET', KEYS[1], ARGV[2])
     return false`,
  ),

  /**
   * (the first key; the beginning of all keys; a line for each document: customer, expected revision and length of its
   * value in bytes; all values in a row): the index and the stored revision of each document that was not written. It
   * compares only the beginnings of the values, because projections wait for this script.
   */
  putDocuments: script<number[]>(
    1,
    `${TEXT}
     local refused = {}
     local index, done = 0, 0
     for id, expected, length in string.gmatch(ARGV[2], '(%d+) (%-?%d+) (%d+)') do
       local key = ARGV[1] .. id .. '}'
       local first = done + 1
       done = done + tonumber(length)
       local written
       if expected == '-1' then written = redis.call('SET', key, string.sub(ARGV[3], first, done), 'NX')
       elseif beginning(key, #expected) == expected .. ' ' then
         written = redis.call('SET', key, string.sub(ARGV[3], first, done))
       end
       if not written then
         refused[#refused + 1] = index
         refused[#refused + 1] = tonumber(string.match(beginning(key, 20), '^%d+') or -1)
       end
       index = index + 1
     end
     return refused`,
  ),

  /** (a document; pairs of documents' keys on the same server): the indexes of the pairs that differ */
  compareDocuments: script<number[]>(
    1,
    `${TEXT}
     local differing = {}
     for i = 1, #ARGV, 2 do
       if text(ARGV[i]) ~= text(ARGV[i + 1]) then
         differing[#differing + 1] = (i - 1) / 2
       end
     end
     return differing`,
  ),

  /** (a document; keys on the same server): the indexes of the missing keys */
  missingDocuments: script<number[]>(
    1,
    `local missing = {}
     for i = 1, #ARGV do
       if redis.call('EXISTS', ARGV[i]) == 0 then missing[#missing + 1] = i - 1 end
     end
     return missing`,
  ),

  /**
   * (place; value): keeps the later one, and returns the position of the stored one; null for none. A value begins with
   * its position in 40 digits, so that texts compare as positions do.
   */
  raisePlace: script<string | null>(
    1,
    `${TEXT}
     local stored = string.match(beginning(KEYS[1], 45), '^(%d+){"id":$')
     if not stored or stored < string.sub(ARGV[1], 1, 40) then redis.call('SET', KEYS[1], ARGV[1]) end
     return stored or false`,
  ),

  /** (hash): its fields and values in turn */
  readHash: script<string[]>(
    1,
    `local all = redis.pcall('HGETALL', KEYS[1])
     if all.err and string.find(all.err, 'WRONGTYPE', 1, true) then return {} end
     return all`,
  ),

  /** (hash; field, value) */
  setField: script<null>(
    1,
    `${OWN_HASH}
     redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
     return false`,
  ),

  /** (hash; field) */
  dropField: script<null>(
    1,
    `${OWN_HASH}
     redis.call('HDEL', KEYS[1], ARGV[1])
     return false`,
  ),

  /** (generations; from, to): 1 if `to` is live now, 0 if another one than `from` was */
  switchGeneration: script<number>(
    1,
    `${OWN_HASH}
     local live = redis.call('HGET', KEYS[1], 'live') or '1'
     if #live > 15 or not string.match(live, '^[1-9]%d*$') then live = '1' end
     if live ~= ARGV[1] then return 0 end
     redis.call('HSET', KEYS[1], 'live', ARGV[2], ARGV[1], '', ARGV[2], '')
     return 1`,
  ),

  /** (mark; revision): the incarnation that has the mark */
  raiseMark: script<string>(
    1,
    `${TEXT}
     local mark = tonumber(string.match(text(KEYS[1]) or '', '^%d+$') or -1)
     if tonumber(ARGV[1]) > mark then redis.call('SET', KEYS[1], ARGV[1]) end
     ${RUN}
     return run`,
  ),

  /** (any key of the server): the incarnation */
  incarnation: script<string>(
    1,
    `${RUN}
     return run`,
  ),

  /** (a key of its own; for how many milliseconds it stays): the incarnation, after a write */
  probe: script<string>(
    1,
    `redis.call('SET', KEYS[1], '', 'PX', ARGV[1])
     ${RUN}
     return run`,
  ),

  /**
   * (checkpoint, seal of its slot; expected value, next value, epoch, 'begin' or 'go on'): the value now stored, '' for
   * none, and whether the seal is broken, so that nothing was stored. 'begin' puts a new seal under it.
   */
  setCheckpoint: script<[string, number]>(
    2,
    `${RUN}
     ${TEXT}
     local stored = text(KEYS[1]) or ''
     if stored ~= ARGV[1] then return {stored, 0} end
     local filling = 'filling:' .. ARGV[3] .. ':' .. run
     local seal = text(KEYS[2])
     if seal ~= 'complete:' .. run then
       if ARGV[4] == 'begin' then redis.call('SET', KEYS[2], filling)
       elseif seal ~= filling then return {stored, 1} end
     end
     redis.call('SET', KEYS[1], ARGV[2])
     return {ARGV[2], 0}`,
  ),

  /** (key; expected value): removes the key if it still has that value. */
  dropValue: script<null>(
    1,
    `${TEXT}
     if text(KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
     return false`,
  ),

  /**
   * (a seal; step, epoch, seals of slots of the same server): how many of these are not complete after the step.
   * 'begin' marks a slot that is not complete as being filled; 'complete' completes those that have been whole since
   * the epoch began; 'check' changes nothing.
   */
  stepSeals: script<number>(
    1,
    `${RUN}
     ${TEXT}
     local complete = 'complete:' .. run
     local filling = 'filling:' .. ARGV[2] .. ':' .. run
     local broken = 0
     for i = 3, #ARGV do
       local seal = text(ARGV[i])
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
  readonly [S in keyof Scripts]: (key: string, ...values: RedisArgument[]) => Promise<Reply<Scripts[S]>>
}

/**
 * @param send sends one command to the server of its key
 */
export function scriptCommands(send: (key: string, command: RedisArgument[]) => Promise<unknown>): ScriptCommands {
  const callers = Object.entries(scripts).map(([name, { lua, digest, keys }]: [string, Script<unknown>]) => {
    const run = (key: string, ...values: RedisArgument[]) => {
      return send(key, ['EVALSHA', digest, String(keys), key, ...values]).catch((error: Error) => {
        if (!error.message.startsWith('NOSCRIPT')) throw error
        return send(key, ['EVAL', lua, String(keys), key, ...values])
      })
    }
    return [name, run]
  })
  return Object.fromEntries(callers) as ScriptCommands
}
