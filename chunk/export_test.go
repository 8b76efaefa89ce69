package chunk

// Windows cuts text as Stream does, showing it in windows that grow by what sizes gives. ok is false for a splitter that
// cannot be streamed.
func Windows(s Splitter, text string, sizes func() int) (all []Chunk, ok bool) {
	st, ok := s.(streamer)
	if !ok {
		return nil, false
	}
	w := st.walk()
	base, end := 0, 0
	for {
		for {
			c, ok := w.next(text[base:end], end == len(text))
			if !ok {
				break
			}
			all = append(all, c)
		}
		if end == len(text) {
			return all, true
		}
		keep := w.kept()
		w.drop(keep)
		base += keep
		end = min(len(text), end+max(1, sizes()))
	}
}
