package machine

import (
	"fmt"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/host"
	"github.com/droveway/droveway/internal/hypervisor"
)

// verdict is what a report says about a machine.
type verdict struct {
	state   droveway.MachineState
	message string
	start   bool // it should run, does not, and can be started
}

// judge says what state a machine is in that no job holds, after what its host
// sees of it. startError is why the last attempt to start it failed, if it did.
//
//	host unknown                     ─▶ unknown
//	host cannot tell what it has     ─▶ unknown
//	instance does not answer         ─▶ unknown
//	instance runs                    ─▶ running, paused
//	no instance, wanted to stand     ─▶ stopped
//	no instance, wanted to run       ─▶ stopped ──start──▶ defining … running
//	                                      └───start failed──▶ failed ──start──▶ …
//	nothing of it                    ─▶ failed
func judge(m *droveway.Machine, ready bool, o host.Observed, startError string) verdict {
	if !ready {
		return verdict{state: droveway.MachineUnknown, message: fmt.Sprintf("host %s is silent: the machine may well run there", m.Status.Host)}
	}
	if o.Instance == "" { // whatever its role
		return verdict{state: droveway.MachineUnknown, message: fmt.Sprintf("host %s: %s", m.Status.Host, o.Message)}
	}
	switch o.Role {
	case host.RoleNone:
		return verdict{state: droveway.MachineFailed, message: fmt.Sprintf("host %s has nothing of the machine: its disks are not there", m.Status.Host)}
	case host.RoleIdle:
		return standing(m, startError)
	case host.RoleHome, host.RoleLeaving, host.RoleHydrating:
		return running(m, o, startError)
	default: // what a move left that has not ended well: not ours to judge
		return verdict{state: m.Status.State, message: fmt.Sprintf("host %s has it as %s, but no job moves it", m.Status.Host, o.Role)}
	}
}

func running(m *droveway.Machine, o host.Observed, startError string) verdict {
	switch o.Instance {
	case hypervisor.Gone:
		return standing(m, startError)
	case hypervisor.Paused:
		return verdict{state: droveway.MachinePaused, message: o.Message}
	case hypervisor.Stuck:
		if d := m.Origin(); d != nil {
			return verdict{state: droveway.MachinePaused, message: fmt.Sprintf("it waits for disk %s, which is filled from %s", d.Name, d.From)}
		}
		return verdict{state: droveway.MachinePaused, message: "its disks report errors: " + o.Message}
	case hypervisor.Crashed:
		return verdict{state: droveway.MachinePaused, message: "its guest crashed and stands: stop the machine and start it again"}
	default:
		return verdict{state: droveway.MachineRunning, message: o.Message}
	}
}

func standing(m *droveway.Machine, startError string) verdict {
	switch {
	case !m.Spec.Running:
		return verdict{state: droveway.MachineStopped}
	case startError != "":
		return verdict{state: droveway.MachineFailed, message: "it could not be started: " + startError, start: true}
	case m.Status.State == droveway.MachineFailed: // it still is; the next attempt will tell
		return verdict{state: m.Status.State, message: m.Status.Message, start: true}
	}
	return verdict{state: droveway.MachineStopped, message: "its instance ended on host " + m.Status.Host, start: true}
}
