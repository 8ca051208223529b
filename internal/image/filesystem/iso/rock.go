package iso

import (
	"encoding/binary"
	"io/fs"
	"strings"

	"github.com/droveway/droveway/internal/image/block"
	"github.com/droveway/droveway/internal/image/filesystem"
)

// The flags of the parts of a link and of a name.
const (
	partContinues = 1
	partCurrent   = 2
	partParent    = 4
	partRoot      = 8
)

// rockRidge reads the system use entries of a record: name, mode and link. They
// may go on elsewhere.
func (v *volume) rockRidge(n *node, rec []byte) string {
	start := recordHead + int(rec[32])
	start += start%2 + v.skip
	if start > len(rec) {
		return ""
	}
	var name string
	l := link{}
	area := rec[start:]
	for range maxContinued {
		var next []byte
		for len(area) >= 4 && int(area[2]) >= 4 && int(area[2]) <= len(area) {
			e := area[:area[2]]
			area = area[area[2]:]
			switch string(e[:2]) {
			case "NM":
				if len(e) > 5 && e[4]&(partCurrent|partParent) == 0 {
					name += string(e[5:])
				}
			case "PX":
				if len(e) >= 12 {
					n.stat.Mode = filesystem.UnixMode(binary.LittleEndian.Uint32(e[4:]))
				}
			case "SL":
				l.add(e)
			case "CE":
				next = v.continuation(e)
			}
		}
		if area = next; area == nil {
			break
		}
	}
	if n.stat.Mode&fs.ModeSymlink != 0 {
		n.link = l.target()
		n.stat.Size = int64(len(n.link))
	}
	return name
}

func (v *volume) continuation(e []byte) []byte {
	if len(e) < 28 {
		return nil
	}
	le := binary.LittleEndian
	at, off, size := int64(le.Uint32(e[4:])), int64(le.Uint32(e[12:])), le.Uint32(e[20:])
	b, err := block.Read(v.r, at*sector+off, int(min(size, sector)))
	if err != nil {
		return nil
	}
	return b
}

// link puts a target together from its parts.
type link struct {
	parts     []string
	continues bool
}

func (l *link) add(e []byte) {
	for b := e[min(5, len(e)):]; len(b) >= 2 && 2+int(b[1]) <= len(b); b = b[2+int(b[1]):] {
		text := string(b[2 : 2+b[1]])
		switch {
		case b[0]&partCurrent != 0:
			text = "."
		case b[0]&partParent != 0:
			text = ".."
		case b[0]&partRoot != 0:
			text = ""
		}
		if l.continues && len(l.parts) > 0 {
			l.parts[len(l.parts)-1] += text
		} else {
			l.parts = append(l.parts, text)
		}
		l.continues = b[0]&partContinues != 0
	}
}

func (l *link) target() string {
	if len(l.parts) == 1 && l.parts[0] == "" {
		return "/"
	}
	return strings.Join(l.parts, "/")
}
