package api

import (
	"context"
	"time"

	"chunkstream/store"
)

// StrategyStatistics is what operations came to, with one strategy or all together.
type StrategyStatistics struct {
	Strategy      string  `json:"strategy" doc:"Empty for all together"`
	Operations    int64   `json:"operations" doc:"All, whatever became of them"`
	Completed     int64   `json:"completed"`
	Failed        int64   `json:"failed"`
	Cancelled     int64   `json:"cancelled"`
	Bytes         int64   `json:"bytes" doc:"Of the texts of the completed ones"`
	Chunks        int64   `json:"chunks" doc:"Of the completed ones"`
	BytesPerChunk float64 `json:"bytes_per_chunk" doc:"0 without chunks"`
	P50Ms         *int64  `json:"p50_ms" doc:"Half of the completed ones took no longer, from the first claim to the end; null for all together"`
	P95Ms         *int64  `json:"p95_ms"`
}

// Statistics is counted when asked, from the rows of the operations themselves.
type Statistics struct {
	Days       int                  `json:"days" doc:"How far it looks back"`
	Total      StrategyStatistics   `json:"total"`
	Data       []StrategyStatistics `json:"data" doc:"By strategy"`
	Documents  int64                `json:"documents" doc:"There now"`
	Bytes      int64                `json:"document_bytes" doc:"Of their texts"`
	Unfinished int64                `json:"unfinished_operations" doc:"Not ended now"`
}

type (
	statisticsInput struct {
		Days int `query:"days" minimum:"1" maximum:"3650" default:"30" doc:"How far to look back"`
	}
	statisticsOutput struct {
		Body Statistics
	}
)

func (a *API) statistics(ctx context.Context, in *statisticsInput) (*statisticsOutput, error) {
	all, err := a.cfg.Store.Statistics(ctx, owner(ctx), time.Duration(in.Days)*24*time.Hour)
	if err != nil {
		return nil, err
	}
	usage, err := a.cfg.Store.Usage(ctx, owner(ctx))
	if err != nil {
		return nil, err
	}
	s := Statistics{Days: in.Days, Data: []StrategyStatistics{}, Documents: usage.Documents, Bytes: usage.Bytes, Unfinished: usage.Unfinished}
	var total store.StrategyStats
	for _, one := range all {
		v := viewOfStats(one)
		p50, p95 := one.P50.Milliseconds(), one.P95.Milliseconds()
		if one.Completed > 0 {
			v.P50Ms, v.P95Ms = &p50, &p95
		}
		s.Data = append(s.Data, v)
		total.Operations += one.Operations
		total.Completed += one.Completed
		total.Failed += one.Failed
		total.Cancelled += one.Cancelled
		total.Bytes += one.Bytes
		total.Chunks += one.Chunks
	}
	s.Total = viewOfStats(total)
	return &statisticsOutput{s}, nil
}

func viewOfStats(s store.StrategyStats) StrategyStatistics {
	v := StrategyStatistics{Strategy: s.Strategy, Operations: s.Operations, Completed: s.Completed, Failed: s.Failed, Cancelled: s.Cancelled,
		Bytes: s.Bytes, Chunks: s.Chunks}
	if s.Chunks > 0 {
		v.BytesPerChunk = float64(s.Bytes) / float64(s.Chunks)
	}
	return v
}
