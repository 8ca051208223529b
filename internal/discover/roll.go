package discover

// roll numbers things. The number of what is gone is given again.
type roll[T any] struct {
	all  []*T
	free []uint32
}

func (r *roll[T]) add(t *T) uint32 {
	if n := len(r.free); n > 0 {
		id := r.free[n-1]
		r.free = r.free[:n-1]
		r.all[id] = t
		return id
	}
	r.all = append(r.all, t)
	return uint32(len(r.all) - 1)
}

func (r *roll[T]) drop(id uint32) {
	r.all[id] = nil
	r.free = append(r.free, id)
}
