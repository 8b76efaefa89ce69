package live

import "chunkstream/redisconn"

// Scripts is what the bus runs, by name.
var Scripts = map[string]*redisconn.Script{"writeHash": writeHash, "writeStream": writeStream}
