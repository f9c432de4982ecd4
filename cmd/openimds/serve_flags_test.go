package main

import (
	"reflect"
	"testing"

	"github.com/openimds/openimds/server"
)

// Every member of an agent's Config can be set by a flag, or is the program's own to say.
func TestFlagsOfTheAgent(t *testing.T) {
	own := map[string]bool{"Version": true, "Log": true, "Named": true, "Hangs": true}
	flags := newAgent().Flags()
	config := reflect.TypeFor[server.AgentConfig]()
	for _, member := range members(config) {
		flag, ok := agentFlagOf[member]
		if ok == own[member] || ok && flags.Lookup(flag) == nil {
			t.Errorf("%s has the flag %q", member, flag)
		}
	}
	if len(agentFlagOf)+len(own) != len(members(config)) {
		t.Error("an agent's Config has not all that there are flags of")
	}
}

// Every member of a server's Config can be set by a flag, or is the program's own to say.
func TestFlagsOfTheConfig(t *testing.T) {
	own := map[string]bool{"Version": true, "Log": true, "Named": true, "Hangs": true}
	flags := newSettings(t)
	config := reflect.TypeFor[server.Config]()
	for _, member := range members(config) {
		flag, ok := flagOf[member]
		if ok == own[member] || ok && flags.Lookup(flag) == nil {
			t.Errorf("%s has the flag %q", member, flag)
		}
	}
	for member := range flagOf {
		if _, ok := config.FieldByName(member); !ok {
			t.Errorf("a Config has no %s", member)
		}
	}
}

// members are those that others than its own package can give.
func members(config reflect.Type) (names []string) {
	for i := range config.NumField() {
		if field := config.Field(i); field.IsExported() {
			names = append(names, field.Name)
		}
	}
	return names
}
