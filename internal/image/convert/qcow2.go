package convert

import (
	"encoding/binary"
	"io"
)

// The numbers of qcow2, from docs/interop/qcow2.txt of QEMU. Its own defaults.
const (
	clusterBits  = 16
	cluster      = 1 << clusterBits
	perTable     = cluster / 8               // second-level entries of a table
	reach        = perTable * int64(cluster) // bytes that one table maps
	copied       = uint64(1) << 63           // the cluster is used once
	perRefcounts = cluster / 2               // 16-bit counts in a cluster
	refcountBits = 4                         // 1<<4 bits each
	headerBytes  = 112                       // with the compression type, padded
)

// writer writes a disk in order. Data and second-level tables follow each other
// as they come; what is known only at the end stands at the end: first-level
// table, counts, and the header in front, without which there is no image.
//
//	header, data, table, data, table, …, first-level table, counts, their table
type writer struct {
	f      io.WriterAt
	size   int64  // bytes of the disk
	next   int64  // cluster of the file to be written next
	l1     []byte // first-level table
	l2     []byte // second-level table under way
	region int64  // which one
	used   bool   // it has an entry
}

func newWriter(f io.WriterAt, size int64) *writer {
	tables := (size + reach - 1) / reach
	return &writer{f: f, size: size, next: 1, l1: make([]byte, tables*8), l2: make([]byte, cluster)}
}

// write writes the disk's bytes at off, which lie in one region. off is a multiple
// of the cluster, and beyond all that was written before.
func (w *writer) write(p []byte, off int64) error {
	if err := w.enter(off / reach); err != nil {
		return err
	}
	for len(p) > 0 {
		n := run(p)
		if n == 0 {
			n = min(cluster, len(p))
		} else if err := w.data(p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// run is the length of the clusters at the start that are not zero.
func run(p []byte) int {
	n := 0
	for n < len(p) && !isZero(p[n:min(n+cluster, len(p))]) {
		n = min(n+cluster, len(p))
	}
	return n
}

// data appends clusters, and enters them.
func (w *writer) data(p []byte, off int64) error {
	first := w.next
	if err := w.append(p); err != nil {
		return err
	}
	for i := range w.next - first {
		entry := (off%reach/cluster + i) * 8
		binary.BigEndian.PutUint64(w.l2[entry:], uint64(first+i)<<clusterBits|copied)
	}
	w.used = true
	return nil
}

// append writes whole clusters; the rest of the last one reads as zeros.
func (w *writer) append(p []byte) error {
	_, err := w.f.WriteAt(p, w.next<<clusterBits)
	w.next += clusters(int64(len(p)))
	return err
}

func clusters(bytes int64) int64 { return (bytes + cluster - 1) >> clusterBits }

// enter turns to another region, once the table of the last one is written.
func (w *writer) enter(region int64) error {
	if region == w.region {
		return nil
	}
	if w.used {
		binary.BigEndian.PutUint64(w.l1[w.region*8:], uint64(w.next)<<clusterBits|copied)
		if err := w.append(w.l2); err != nil {
			return err
		}
		clear(w.l2)
		w.used = false
	}
	w.region = region
	return nil
}

// finish writes what describes the rest.
func (w *writer) finish() error {
	if err := w.enter(w.region + 1); err != nil {
		return err
	}
	l1 := w.next
	if err := w.append(w.l1); err != nil {
		return err
	}
	counts, table := w.countClusters()
	firstCounts := w.next
	if err := w.writeCounts(counts, table); err != nil {
		return err
	}
	_, err := w.f.WriteAt(w.header(l1, firstCounts+counts, table), 0)
	return err
}

// countClusters tells how many clusters of counts, and how many of the table of
// those, count the file and themselves.
func (w *writer) countClusters() (counts, table int64) {
	for {
		all := w.next + counts + table
		c := (all + perRefcounts - 1) / perRefcounts
		t := clusters(c * 8)
		if c == counts && t == table {
			return counts, table
		}
		counts, table = c, t
	}
}

func (w *writer) writeCounts(counts, table int64) error {
	first, all := w.next, w.next+counts+table
	for i := range counts {
		b := make([]byte, cluster)
		for j := range min(perRefcounts, all-i*perRefcounts) {
			binary.BigEndian.PutUint16(b[j*2:], 1)
		}
		if err := w.append(b); err != nil {
			return err
		}
	}
	b := make([]byte, table<<clusterBits)
	for i := range counts {
		binary.BigEndian.PutUint64(b[i*8:], uint64(first+i)<<clusterBits)
	}
	return w.append(b)
}

func (w *writer) header(l1, table, tableClusters int64) []byte {
	b := make([]byte, cluster)
	be := binary.BigEndian
	copy(b, "QFI\xfb")
	be.PutUint32(b[4:], 3) // version
	be.PutUint32(b[20:], clusterBits)
	be.PutUint64(b[24:], uint64(w.size))
	be.PutUint32(b[36:], uint32(len(w.l1)/8))
	be.PutUint64(b[40:], uint64(l1)<<clusterBits)
	be.PutUint64(b[48:], uint64(table)<<clusterBits)
	be.PutUint32(b[56:], uint32(tableClusters))
	be.PutUint32(b[96:], refcountBits)
	be.PutUint32(b[100:], headerBytes)
	return b
}
