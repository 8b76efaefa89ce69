// What was done on a page, as a command or a program that does the same.

import type { Settings } from './types'

export const languages = ['CLI', 'curl', 'Go', 'Python', 'YAML'] as const
export type Language = (typeof languages)[number]

/** The settings that are flags of their own; any other is given by --set. */
const flagged = new Set(['chunk_size', 'chunk_overlap', 'unit', 'tokenizer', 'min_chunk_size', 'soft_chunk_size'])

const shell = (s: string) => (/^[\w@%+=:,./-]+$/.test(s) ? s : `'${s.replaceAll("'", `'\\''`)}'`)
const goString = (s: string) => (/[`\r]/.test(s) ? JSON.stringify(s) : '`' + s + '`')

/**
 * The text is never part of it: file stands for the reader's own. Neither is a key: keyed says that the server wants one,
 * which is then taken from the environment.
 */
export function commandOf(language: Language, strategy: string, settings: Settings, file: string, origin: string, keyed: boolean): string {
  const all = Object.entries(settings)
  if (language === 'YAML') {
    const rest = all.filter(([name]) => !flagged.has(name))
    const text = (v: unknown) => (typeof v === 'string' ? JSON.stringify(v) : JSON.stringify(JSON.stringify(v)))
    return `# chunkstream.yaml
strategy: ${strategy}
${all.filter(([name]) => flagged.has(name)).map(([name, v]) => `${name}: ${JSON.stringify(v)}\n`).join('')}${
      rest.length ? `set:\n${rest.map(([name, v]) => `  ${name}: ${text(v)}\n`).join('')}` : ''}`
  }
  if (language === 'CLI') {
    const flags = all.map(([name, value]) => {
      const text = typeof value === 'string' ? value : JSON.stringify(value)
      return flagged.has(name) ? `--${name.replaceAll('_', '-')}=${shell(text)}` : `--set ${shell(`${name}=${text}`)}`
    })
    return ['chunkstream chunk', shell(file), `--strategy=${strategy}`, ...flags].join(' ')
  }
  if (language === 'curl') {
    const query = new URLSearchParams({ strategy })
    for (const [name, value] of all) for (const one of [value].flat()) query.append(name, String(one))
    query.set('wait', '10')
    return `curl${keyed ? ' -H "Authorization: Bearer $CHUNKSTREAM_API_KEY"' : ''} --data-binary @${shell(file)} ${shell(`${origin}/v1/operations?${query}`)}`
  }
  if (language === 'Go')
    return `package main

import (
	"fmt"
	"os"

	"chunkstream/chunk"
${settings.unit === 'tokens' ? '\t"chunkstream/token"\n' : ''})

func main() {
	text, err := os.ReadFile(${JSON.stringify(file)})
	if err != nil {
		panic(err)
	}
${
  settings.unit === 'tokens'
    ? `	parser := chunk.Parser{Tokenizer: func(name string) (chunk.Sizer, error) { return token.Get(name) }}
	plan, err := parser.Parse(${JSON.stringify(strategy)}, []byte(${goString(JSON.stringify(settings))}))`
    : `	plan, err := chunk.Parse(${JSON.stringify(strategy)}, []byte(${goString(JSON.stringify(settings))}))`
}
	if err != nil {
		panic(err)
	}
	for c := range plan.Splitter.Split(string(text)) {
		fmt.Printf("%d–%d %q\\n", c.Start, c.End, text[c.Start:c.End])
	}
}
`
  const key = keyed ? '"Authorization": "Bearer " + os.environ["CHUNKSTREAM_API_KEY"]' : ''
  return `import json, ${keyed ? 'os, ' : ''}urllib.request

body = json.dumps({
    "text": open(${JSON.stringify(file)}, encoding="utf-8", newline="").read(),
    "strategy": ${JSON.stringify(strategy)},
    "config": ${python(settings)},
}).encode()
request = urllib.request.Request(
    ${JSON.stringify(`${origin}/v1/operations?wait=10`)}, body, {"Content-Type": "application/json"${key && `, ${key}`}})
operation = json.load(urllib.request.urlopen(request))
request = urllib.request.Request(
    ${JSON.stringify(origin)} + operation["links"]["chunks"], headers={"Accept": "application/x-ndjson"${key && `, ${key}`}})
for line in urllib.request.urlopen(request):
    chunk = json.loads(line)
    print(chunk["start_char"], chunk["end_char"], repr(chunk["text"]))
`
}

const python = (settings: Settings) => {
  const one = (v: unknown): string =>
    v === true ? 'True' : v === false ? 'False' : Array.isArray(v) ? `[${v.map(one).join(', ')}]` : JSON.stringify(v)
  return `{${Object.entries(settings).map(([k, v]) => `${JSON.stringify(k)}: ${one(v)}`).join(', ')}}`
}
