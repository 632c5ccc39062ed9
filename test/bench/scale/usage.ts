/** Loaded into a measured process (`--import`): writes its resource usage to a file when it exits. */
import { writeFileSync } from 'node:fs'

const file = process.env.BENCH_USAGE
if (file) process.on('exit', () => writeFileSync(file, JSON.stringify(process.resourceUsage())))
