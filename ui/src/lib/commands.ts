// What was done on a page, as a command or a program that does the same.

import type { Settings } from './types'

export const languages = ['CLI', 'curl', 'Go', 'Python'] as const
export type Language = (typeof languages)[number]

/** The settings that are flags of their own; any other is given by --set. */
const flagged = new Set(['chunk_size', 'chunk_overlap', 'unit', 'tokenizer', 'min_chunk_size', 'soft_chunk_size'])

const shell = (s: string) => (/^[\w@%+=:,./-]+$/.test(s) ? s : `'${s.replaceAll("'", `'\\''`)}'`)
const goString = (s: string) => (/[`\r]/.test(s) ? JSON.stringify(s) : '`' + s + '`')

/** The text is never part of it: file stands for the reader's own. */
export function commandOf(language: Language, strategy: string, settings: Settings, file: string, origin: string): string {
  const all = Object.entries(settings)
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
    return `curl --data-binary @${shell(file)} ${shell(`${origin}/v1/operations?${query}`)}`
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
  return `import json, urllib.request

body = json.dumps({
    "text": open(${JSON.stringify(file)}, encoding="utf-8", newline="").read(),
    "strategy": ${JSON.stringify(strategy)},
    "config": ${python(settings)},
}).encode()
request = urllib.request.Request(
    ${JSON.stringify(`${origin}/v1/operations?wait=10`)}, body, {"Content-Type": "application/json"})
operation = json.load(urllib.request.urlopen(request))
request = urllib.request.Request(
    ${JSON.stringify(origin)} + operation["links"]["chunks"], headers={"Accept": "application/x-ndjson"})
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
