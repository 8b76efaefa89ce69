package celery

import "chunkstream/redisconn"

// Scripts is what the door runs, by name.
var Scripts = map[string]*redisconn.Script{"pop": pop, "putOff": putOff, "renew": renew, "giveBack": giveBack, "restore": restore, "tell": tell}
