// What the API sends, as far as these pages use it. docs/api.md has the meaning of every field.

export type Settings = Record<string, unknown>

export interface Strategy {
  name: string
  aliases: string[]
  summary: string
  defaults: Settings
  schema: Schema
}

// A JSON Schema, as far as the forms understand it.
export interface Schema {
  type?: string | string[]
  properties?: Record<string, Schema | false>
  description?: string
  default?: unknown
  enum?: unknown[]
  const?: unknown
  minimum?: number
  maximum?: number
  pattern?: string
  items?: Schema
  minItems?: number
  maxItems?: number
  anyOf?: Schema[]
  allOf?: Schema[]
  if?: Schema
  then?: Schema
  else?: Schema
  required?: string[]
}

export interface Context {
  kind: string
  level?: number
  start_byte: number
  end_byte: number
  text?: string
}

export interface Chunk {
  id: string
  index: number
  start_byte: number
  end_byte: number
  start_char: number
  end_char: number
  char_count: number
  overlap_bytes: number // also in the chunk before it, of the same level
  size?: number // in the unit; previews only
  boundary?: string
  reason?: string
  kind?: string
  level?: number
  parent_index?: number
  context?: Context[]
}

export interface Preview {
  data: Chunk[]
  has_more: boolean
  strategy: string
  config: Settings
  bytes_total: number
  chars_total: number
}

/** What POST /v1/compare says of one of the strategies, as far as it is shown. */
export interface Compared {
  torn_words: number
  only_cuts: number
  tokens: number
  time_ms: number
}

export type Status = 'queued' | 'processing' | 'completed' | 'failed' | 'cancelled'

export interface Failure {
  code: string
  detail: string
}

export interface Operation {
  id: string
  document_id: string
  name: string
  status: Status
  strategy: string
  config: Settings
  splitter_version: string
  retry_of: string
  seq: number
  attempt: number
  bytes_total: number
  bytes_done: number
  chunks: number
  cancel_requested: boolean
  worker: string
  error: Failure | null
  created_at: string
  started_at: string | null
  finished_at: string | null
  links: Record<string, string>
}

// docs/events.md
export interface Event {
  seq?: number
  type: string
  operation_id: string
  time: string
  data: EventData
}

export interface EventData {
  status: Status
  phase?: string
  attempt?: number
  seq?: number
  bytes_done?: number
  bytes_total?: number
  chunks?: number
  eta_ms?: number
  worker?: string
  cancel_requested?: boolean
  degraded?: boolean
  error?: Failure
  retry_in_ms?: number
}

/** Whom a request speaks for. */
export interface Me {
  owner: string
  scopes: string[]
  expires_at: string | null
}

export interface Key {
  id: string
  owner: string
  name: string
  hint: string
  scopes: string[]
  created_by: string
  created_at: string
  expires_at: string | null
  last_used_at: string | null
  revoked_at: string | null
}

/** Who is refused whatever they show. */
export interface Block {
  kind: 'owner' | 'token'
  value: string
  reason: string
  created_by: string
  created_at: string
}

export interface AuditEntry {
  num: number
  at: string
  actor: string
  action: string
  target: string
  detail: string
}

/** An address that is told when operations end. */
export interface Webhook {
  id: string
  name: string
  url: string
  events: string[]
  all: boolean
  created_at: string
  former_secret_until: string | null
}

export interface Delivery {
  id: string
  operation_id: string
  state: 'pending' | 'delivered' | 'dead'
  attempts: number
  status: number // of HTTP, of the last answer; 0: there was none
  error: string
  created_at: string
  next_attempt_at: string | null
  ended_at: string | null
}

/** What a key may do; daily: one that is made without saying may. */
export const scopes = [
  { name: 'documents:read', words: 'read texts', daily: true },
  { name: 'documents:write', words: 'delete texts', daily: true },
  { name: 'operations:read', words: 'see operations and chunks', daily: true },
  { name: 'operations:write', words: 'submit, cancel, run again', daily: true },
  { name: 'configurations:read', words: 'see saved settings', daily: true },
  { name: 'configurations:write', words: 'save settings', daily: true },
  { name: 'chunking:run', words: 'preview and compare', daily: true },
  { name: 'metrics:read', words: 'read the numbers of the service', daily: false },
  { name: 'admin', words: 'all, and keys', daily: false },
]

export const ended = (status: string) => status === 'completed' || status === 'failed' || status === 'cancelled'
