// The fields of a form from a strategy's JSON Schema.

import type { Schema, Settings, Strategy } from './types'

export interface Field {
  name: string
  label: string
  help: string
  kind: 'number' | 'choice' | 'flag' | 'text' | 'texts' | 'numbers'
  choices: { value: unknown; label: string }[]
  suggestions: string[]
  standard: unknown
  least: number
  most: number // of the slider; the field itself takes what the schema takes
  shares: boolean // a number that may be a percentage
  first: boolean // shown at once, not only under "More"
}

/** Names that the schema leaves open. */
const suggestions: Record<string, string[]> = {
  tokenizer: ['cl100k_base', 'o200k_base', 'p50k_base', 'r50k_base'],
}

/** What a size's slider reaches to, in each unit. */
const reach: Record<string, number> = { bytes: 8000, chars: 8000, words: 1600, tokens: 2000 }

const first = ['chunk_size', 'window', 'chunk_overlap', 'stride', 'unit', 'tokenizer']

export function fieldsOf(strategy: Strategy, settings: Settings): Field[] {
  const config = { ...strategy.defaults, ...settings }
  const known = narrowed(strategy.schema, config)
  const fields = Object.entries(known)
    .filter((entry): entry is [string, Schema] => entry[1] !== false)
    .map(([name, schema]) => fieldOf(name, schema, config))
  const place = (f: Field) => (f.first ? first.indexOf(f.name) : first.length)
  return fields.sort((a, b) => place(a) - place(b))
}

/** The properties with what allOf says about these settings laid over them. */
function narrowed(schema: Schema, config: Settings): Record<string, Schema | false> {
  const all = { ...schema.properties }
  for (const rule of schema.allOf ?? []) {
    const then = rule.if && holds(rule.if, config) ? rule.then : rule.else
    for (const [name, more] of Object.entries(then?.properties ?? {})) {
      const known = all[name]
      all[name] = more === false || !known ? more : { ...known, ...more }
    }
  }
  return all
}

const holds = (schema: Schema, config: Settings) =>
  (schema.required ?? []).every((name) => config[name] !== undefined) &&
  Object.entries(schema.properties ?? {}).every(
    ([name, s]) => config[name] === undefined || (s && (s.const === undefined || s.const === config[name])),
  )

function fieldOf(name: string, schema: Schema, config: Settings): Field {
  const types = [schema.type ?? []].flat()
  const choices: unknown[] = [...(schema.enum ?? [])]
  for (const one of schema.anyOf ?? []) choices.push(...(one.enum ?? []), ...(one.const !== undefined ? [one.const] : []))
  const literal = /^\^(\w+)\$$/.exec(schema.pattern ?? '')
  if (literal) choices.unshift(literal[1])
  if (types.includes('boolean') && types.length > 1 && !schema.anyOf) choices.push(true, false)
  const numeric = types.includes('integer') || types.includes('number')
  let kind: Field['kind'] = 'text'
  if (types.includes('array')) kind = [schema.items?.type].flat().includes('integer') ? 'numbers' : 'texts'
  else if (choices.length) kind = 'choice'
  else if (numeric) kind = 'number'
  else if (types.includes('boolean')) kind = 'flag'
  const least = schema.minimum ?? 0
  return {
    name,
    label: name.replaceAll('_', ' '),
    help: schema.description ?? '',
    kind,
    choices: choices.map((value) => ({ value, label: value === true ? 'yes' : value === false ? 'no' : String(value) })),
    suggestions: suggestions[name] ?? [],
    standard: schema.default,
    least,
    most: Math.max(least + 1, Math.min(schema.maximum ?? Infinity, mostOf(name, config))),
    shares: numeric && types.includes('string'),
    first: first.includes(name),
  }
}

function mostOf(name: string, config: Settings): number {
  const size = Number(config.chunk_size ?? config.window ?? 1000)
  if (/^(chunk_size|window)$/.test(name)) return reach[String(config.unit)] ?? 8000
  if (name === 'chunk_overlap') return Math.max(1, Math.floor(size / 2))
  if (/size|stride/.test(name)) return Math.max(1, size)
  return 20
}

/** Only what differs from the strategy's defaults, and only what it knows. */
export function changed(strategy: Strategy, settings: Settings): Settings {
  const known = narrowed(strategy.schema, { ...strategy.defaults, ...settings })
  return Object.fromEntries(
    Object.entries(settings).filter(([name, value]) =>
      known[name] && value !== undefined && value !== '' && JSON.stringify(value) !== JSON.stringify(strategy.defaults[name])),
  )
}

// Sizes are chosen on a scale on which every doubling is as far: 20 to 40 matters as much as 2000 to 4000.
export const steps = 200
export function toStep(value: number, least: number, most: number): number {
  const low = Math.max(1, least)
  if (value < low) return 0
  return Math.round((steps * Math.log(Math.min(value, most) / low)) / Math.log(most / low))
}
export function fromStep(step: number, least: number, most: number): number {
  const low = Math.max(1, least)
  if (step <= 0) return least
  const exact = low * (most / low) ** (step / steps)
  const grain = exact < 100 ? 1 : exact < 1000 ? 10 : 50
  return Math.min(most, Math.max(least, Math.round(exact / grain) * grain))
}
