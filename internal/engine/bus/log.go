package bus

import (
	"fmt"
	"log/slog"
)

// natsLog passes what the embedded NATS server says to the log. Its notices are
// many and of use to few, so they go to debug.
type natsLog struct {
	log   *slog.Logger
	fatal chan string // the first reason for which it cannot run
}

func (l *natsLog) Noticef(f string, v ...any) { l.log.Debug("nats: " + fmt.Sprintf(f, v...)) }
func (l *natsLog) Warnf(f string, v ...any)   { l.log.Warn("nats: " + fmt.Sprintf(f, v...)) }
func (l *natsLog) Errorf(f string, v ...any)  { l.log.Error("nats: " + fmt.Sprintf(f, v...)) }
func (l *natsLog) Debugf(f string, v ...any)  {}
func (l *natsLog) Tracef(f string, v ...any)  {}

// Fatalf is how NATS says that it gives up. Run returns it.
func (l *natsLog) Fatalf(f string, v ...any) {
	select {
	case l.fatal <- fmt.Sprintf(f, v...):
	default:
	}
}
