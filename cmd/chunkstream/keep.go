package main

import (
	"fmt"
	"time"

	"chunkstream/api"
	"chunkstream/store"
)

// keepFlags say how long ended operations stay.
type keepFlags struct {
	KeepCompleted time.Duration `placeholder:"DURATION" help:"How long completed operations stay, such as 720h; for ever when left out."`
	KeepFailed    time.Duration `placeholder:"DURATION" help:"The same for failed ones."`
	KeepCancelled time.Duration `placeholder:"DURATION" help:"The same for cancelled ones."`
	KeepDocuments bool          `help:"Keep a document of which the last operation has gone that way."`
}

func (k keepFlags) check() error {
	for name, d := range map[string]time.Duration{
		"completed": k.KeepCompleted, "failed": k.KeepFailed, "cancelled": k.KeepCancelled,
	} {
		if d != 0 && d < time.Minute {
			return &exitError{exitUsage, fmt.Errorf("--keep-%s %v is less than a minute", name, d), "--keep-" + name + " 720h"}
		}
	}
	return nil
}

func (k keepFlags) keep() store.Keep {
	return store.Keep{Completed: k.KeepCompleted, Failed: k.KeepFailed, Cancelled: k.KeepCancelled, Documents: k.KeepDocuments}
}

// limitFlags say how much may wait before operations are refused.
type limitFlags struct {
	MaxQueued         int64         `default:"100000" help:"Operations that may be queued before submissions are refused (503); 0: any number."`
	MaxQueuedMiB      int64         `name:"max-queued-mib" default:"16384" help:"MiB of their texts."`
	MaxReceivingMiB   int64         `name:"max-receiving-mib" default:"1024" help:"MiB of bodies that may be arriving in this process."`
	MaxAge            time.Duration `default:"0s" help:"How long the oldest due operation may have waited; 0: any time."`
	OwnerQueued       int64         `default:"50000" help:"The same for what one owner has queued (429)."`
	OwnerQueuedMiB    int64         `name:"owner-queued-mib" default:"8192" help:"MiB of one owner's queued texts."`
	OwnerReceivingMiB int64         `name:"owner-receiving-mib" default:"768" help:"MiB of one owner's bodies that may be arriving."`
}

func (l limitFlags) limits() api.Limits {
	return api.Limits{
		Total: api.Limit{Queued: l.MaxQueued, Bytes: l.MaxQueuedMiB << 20, Receiving: l.MaxReceivingMiB << 20, Oldest: l.MaxAge},
		Owner: api.Limit{Queued: l.OwnerQueued, Bytes: l.OwnerQueuedMiB << 20, Receiving: l.OwnerReceivingMiB << 20},
	}
}
