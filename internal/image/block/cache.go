package block

import (
	"container/list"
	"io"
	"sync"

	"github.com/droveway/droveway"
)

// Pages keeps the pages that were used last. A page is what load makes of its
// index: a piece of a file, or a cluster that was decompressed.
type Pages struct {
	load func(index int64) ([]byte, error)
	max  int

	mu    sync.Mutex
	byKey map[int64]*list.Element
	order *list.List // the newest in front
}

type page struct {
	index int64
	data  []byte
}

// NewPages keeps up to max pages.
func NewPages(most int, load func(index int64) ([]byte, error)) *Pages {
	return &Pages{load: load, max: max(most, 1), byKey: map[int64]*list.Element{}, order: list.New()}
}

// Get gives a page. The caller must not change it.
func (p *Pages) Get(index int64) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e, ok := p.byKey[index]; ok {
		p.order.MoveToFront(e)
		return e.Value.(*page).data, nil
	}
	data, err := p.load(index)
	if err != nil {
		return nil, err
	}
	if p.order.Len() >= p.max {
		last := p.order.Back()
		delete(p.byKey, last.Value.(*page).index)
		p.order.Remove(last)
	}
	p.byKey[index] = p.order.PushFront(&page{index, data})
	return data, nil
}

// Pages of a cache: small reads of metadata cluster, files are read in a row.
const (
	pageSize   = 32 << 10
	pagesOfOne = 256 // 8 MiB
)

// Cache makes small reads of r cheap; it holds at most 8 MiB. A section of what has a
// cache uses that: however many members of an archive are read, they have one.
func Cache(r io.ReaderAt, size int64) *Cached {
	if s, ok := r.(*io.SectionReader); ok {
		outer, off, n := s.Outer()
		if c, ok := outer.(*Cached); ok && size <= n && off+size <= c.size {
			return &Cached{r: c.r, base: c.base + off, size: size, pages: c.pages}
		}
	}
	c := &Cached{r: r, size: size}
	c.pages = NewPages(pagesOfOne, c.read)
	return c
}

// Cached is a reader with a page cache.
type Cached struct {
	r     io.ReaderAt
	base  int64 // of it in r
	size  int64
	pages *Pages
}

// Size is the length in bytes.
func (c *Cached) Size() int64 { return c.size }

func (c *Cached) read(index int64) ([]byte, error) {
	off := index * pageSize
	b := make([]byte, min(pageSize, c.size-off))
	return b, Full(c.r, b, off)
}

// ReadAt reads through the cache, except for what is as large as a page.
func (c *Cached) ReadAt(p []byte, off int64) (int, error) {
	q, done := Clip(p, off, c.size)
	if done {
		return 0, io.EOF
	}
	if len(q) >= pageSize {
		if err := Full(c.r, q, c.base+off); err != nil {
			return 0, err
		}
	} else if n, err := c.gather(q, off); err != nil {
		return n, err
	}
	if len(q) < len(p) {
		return len(q), io.EOF
	}
	return len(q), nil
}

func (c *Cached) gather(q []byte, off int64) (int, error) {
	n := 0
	for n < len(q) {
		at := c.base + off + int64(n)
		b, err := c.pages.Get(at / pageSize)
		if err != nil {
			return n, err
		}
		if int(at%pageSize) >= len(b) {
			return n, droveway.Errorf(droveway.Internal, "page cache: page %d has %d bytes", at/pageSize, len(b))
		}
		n += copy(q[n:], b[at%pageSize:])
	}
	return n, nil
}
