// Settings that the server keeps under a name: docs/api.md, Configurations.

import { get, send } from './api.svelte'
import type { Settings } from './types'

export interface Configuration {
  id: string
  name: string
  strategy: string
  config: Settings
  default: boolean
  version: number
  updated_at: string
}

/** What of a configuration is written. */
export type Draft = Pick<Configuration, 'name' | 'strategy' | 'config' | 'default'>

export const readSaved = async () => (await get<{ data: Configuration[] }>('/v1/configurations')).data

/** Makes a new one, or changes what was read before; changed_meanwhile if somebody else has done so. */
export const save = (d: Draft, before?: Configuration) =>
  before
    ? send<Configuration>('PUT', `/v1/configurations/${before.id}`, d, { 'If-Match': `"${before.version}"` })
    : send<Configuration>('POST', '/v1/configurations', d)

export const remove = (c: Configuration) => send<void>('DELETE', `/v1/configurations/${c.id}`)
