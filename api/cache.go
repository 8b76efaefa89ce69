package api

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"sync"
	"time"
)

// The bounds of what is kept of previews and comparisons.
const (
	cacheBytes = 32 << 20 // all answers together
	cacheEntry = 4 << 20  // one answer; a larger one is not kept
	cacheLife  = 10 * time.Minute
)

// cache keeps answers that depend on nothing but the request and whose it is, the least recently used going first. The
// owner is part of every key, so that nobody learns from it, or from how long an answer takes, what others have sent. Any
// number of goroutines may use it.
type cache struct {
	mu    sync.Mutex
	all   map[cacheKey]*list.Element
	order *list.List // of *cached; the front was used last
	bytes int
	now   func() time.Time
}

type cacheKey [sha256.Size]byte

type cached struct {
	key  cacheKey
	body []byte
	till time.Time
}

func newCache() *cache {
	return &cache{all: map[cacheKey]*list.Element{}, order: list.New(), now: time.Now}
}

// keyOf makes a key of an owner, what is done, and all that the answer depends on. Each part stands behind its length, so
// that no two lists of parts are the same bytes.
func keyOf(owner, what string, parts ...string) (key cacheKey) {
	h := sha256.New()
	for _, part := range append([]string{owner, what}, parts...) {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write([]byte(part))
	}
	h.Sum(key[:0])
	return key
}

// get gives the answer kept under key, or nil. It must not be changed.
func (c *cache) get(key cacheKey) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.all[key]
	if at == nil {
		return nil
	}
	one := at.Value.(*cached)
	if c.now().After(one.till) {
		c.drop(at)
		return nil
	}
	c.order.MoveToFront(at)
	return one.body
}

// put keeps an answer, which must not be changed any more.
func (c *cache) put(key cacheKey, body []byte) {
	if len(body) > cacheEntry {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.all[key]; at != nil {
		c.drop(at)
	}
	c.all[key] = c.order.PushFront(&cached{key, body, c.now().Add(cacheLife)})
	c.bytes += len(body)
	for c.bytes > cacheBytes {
		c.drop(c.order.Back())
	}
	// What was used longest ago goes with its time, also when there is room.
	for last := c.order.Back(); last != nil && c.now().After(last.Value.(*cached).till); last = c.order.Back() {
		c.drop(last)
	}
}

func (c *cache) drop(at *list.Element) {
	one := c.order.Remove(at).(*cached)
	delete(c.all, one.key)
	c.bytes -= len(one.body)
}

// answerCached answers with what is kept under key, or with what is made now, which then is kept. Whether it was kept stands
// in the answer (RFC 9211).
func (a *API) answerCached(w http.ResponseWriter, key cacheKey, make func() (any, error)) error {
	body, state := a.cache.get(key), []string{"chunkstream; hit"}
	if body == nil {
		v, err := make()
		if err != nil {
			return err
		}
		if body, err = encode(v); err != nil {
			return err
		}
		a.cache.put(key, body)
		state = []string{"chunkstream; fwd=miss"}
	}
	h := w.Header()
	h["Content-Type"], h["Cache-Status"] = jsonType, state
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // the client may be gone; there is nobody else to tell
	return nil
}
