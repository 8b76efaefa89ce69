package redisconn

import (
	"fmt"

	"github.com/redis/rueidis"
)

// Reply is what a script or a transaction's command returned. Its methods give an error when it is of another type.
type Reply struct{ message rueidis.RedisMessage }

// IsNil reports whether Redis said nil (Lua's false and nil).
func (r Reply) IsNil() bool { return r.message.IsNil() }

// Int is the number returned, or the text returned read as one.
func (r Reply) Int() (int64, error) {
	n, err := r.message.AsInt64()
	return n, r.wrap("a number", err)
}

// Text is the text returned; a status such as OK is text too.
func (r Reply) Text() (string, error) {
	s, err := r.message.ToString()
	return s, r.wrap("text", err)
}

// Texts is the list of texts returned, "" for a nil among them.
func (r Reply) Texts() ([]string, error) {
	all, err := r.message.AsStrSlice()
	return all, r.wrap("a list of texts", err)
}

// List is the list returned.
func (r Reply) List() ([]Reply, error) {
	messages, err := r.message.ToArray()
	all := make([]Reply, len(messages))
	for i, m := range messages {
		all[i] = Reply{m}
	}
	return all, r.wrap("a list", err)
}

func (r Reply) wrap(want string, err error) error {
	if err == nil {
		return nil
	} else if r.IsNil() {
		return fmt.Errorf("redisconn: the reply is nil, not %s", want)
	}
	return fmt.Errorf("redisconn: the reply is not %s", want) // the driver's error would quote it
}

// Entry is one entry of a stream.
type Entry struct {
	ID     string
	Fields map[string]string
}

func entries(all []rueidis.XRangeEntry) []Entry {
	list := make([]Entry, len(all))
	for i, e := range all {
		list[i] = Entry{e.ID, e.FieldValues}
	}
	return list
}
