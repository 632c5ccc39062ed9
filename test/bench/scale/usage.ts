/** Loaded into a measured process (`--import`): leaves in a file what it has used, however it ends in good order. */
import { writeFileSync } from 'node:fs'

const file = process.env.BENCH_USAGE
if (file) process.on('exit', () => writeFileSync(file, JSON.stringify(process.resourceUsage())))
