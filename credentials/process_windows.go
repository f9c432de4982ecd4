package credentials

import "os/exec"

const shell, shellFlag = "cmd.exe", "/C"

// group has nothing to do: the command alone is ended.
func group(*exec.Cmd) {}

func endGroup(*exec.Cmd) {}
