// Command host measures openimds as the metadata service of a host: with guests behind interfaces, at
// ports of a bridge and in network namespaces, which it makes itself, in namespaces of its own. It
// needs root, touches nothing of the real host's network, and prints its report as Markdown.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// settings are those of the command line.
type settings struct {
	openimds    string
	repetitions int
	interfaces  int
	namespaces  int
	storms      int
}

// descriptors are those that the program under measurement may have: two listeners for each
// attachment, and its namespace.
const descriptors = 200_000

func main() {
	var s settings
	flag.StringVar(&s.openimds, "openimds", "", "the `program`")
	flag.IntVar(&s.repetitions, "repetitions", 300, "attachments of each kind, one after the other")
	flag.IntVar(&s.interfaces, "interfaces", 10_000, "interfaces that are attached at once; and a tenth of that")
	flag.IntVar(&s.namespaces, "namespaces", 1_000, "namespaces that are attached at once, and call at once")
	flag.IntVar(&s.storms, "storms", 3, "rounds of the boot storm")
	inside := flag.Bool("inside", false, "this process has namespaces of its own")
	flag.Parse()
	log.SetFlags(log.Ltime)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	work := enter
	if *inside {
		work = func(ctx context.Context) error { return run(ctx, s) }
	}
	if err := work(ctx); err != nil {
		stop()
		log.Fatal("host: ", err)
	}
}

// enter runs this program again, in network, mount and process namespaces of its own.
func enter(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("it needs root, to make network namespaces")
	}
	// The parent's death is that of the thread that started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", append([]string{"-inside"}, os.Args[1:]...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	return cmd.Run()
}

// settle makes the fresh namespaces fit for work.
func settle() error {
	for _, mount := range []struct {
		target, kind string
		flags        uintptr
	}{
		{"/", "", unix.MS_REC | unix.MS_PRIVATE}, {"/proc", "proc", 0}, {"/run", "tmpfs", 0},
	} {
		if err := unix.Mount(mount.kind, mount.target, mount.kind, mount.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", mount.target, err)
		}
	}
	if err := os.Mkdir("/run/netns", 0o755); err != nil {
		return err
	}
	return up("lo")
}

// raiseDescriptors lets this process, and so the server, have as many as are needed, or else as many
// as it may, and returns the number.
func raiseDescriptors() uint64 {
	limit := unix.Rlimit{Cur: descriptors, Max: descriptors}
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) != nil && unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 1024
	}
	return limit.Cur
}

func up(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	return netlink.LinkSetUp(l)
}

func run(ctx context.Context, s settings) error {
	if err := settle(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "openimds-host-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if most := int(raiseDescriptors()-500) / 2; s.interfaces > most {
		log.Printf("attaching %d interfaces, not %d: more descriptors are not to be had", most, s.interfaces)
		s.interfaces = most
	}
	b := &bench{settings: s, dir: dir}
	if b.visitor, err = newVisitor(); err != nil {
		return err
	}
	for _, part := range []func(context.Context) error{b.measureAttach, b.measureNamespaces, b.measureInterfaces} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	b.report(os.Stdout)
	return nil
}

// bench is one run, and what it found out.
type bench struct {
	settings
	dir     string
	visitor *visitor
	first   []firstAnswer
	crowds  []crowd
	storm   []storm
}
