#include "textflag.h"

// func rawStart(clone *cloneArgs, size uintptr, r *rawRun) int64
//
// The parent returns. The child has the parent's memory and a stack that it does not
// use; it makes the calls of a program (see type op for the offsets) and either
// becomes another program or exits. It must not return, and call no Go code.
TEXT ·rawStart(SB), NOSPLIT, $0-32
	MOVQ clone+0(FP), DI
	MOVQ size+8(FP), SI
	MOVQ r+16(FP), R12
	MOVQ $435, AX            // clone3
	SYSCALL
	TESTQ AX, AX
	JZ   child
	MOVQ AX, ret+24(FP)
	RET

child:
	MOVQ 0(R12), R13         // the next op
	MOVQ 8(R12), R14         // how many there are
	MOVQ 16(R12), R15        // the slots
	XORQ BX, BX              // the number of the op

loop:
	CMPQ BX, R14
	JGE  failed
	MOVQ 56(R13), CX
	MOVQ 8(R13), DI
	TESTQ $1, CX
	JZ   second
	MOVQ (R15)(DI*8), DI

second:
	MOVQ 16(R13), SI
	TESTQ $2, CX
	JZ   third
	MOVQ (R15)(SI*8), SI

third:
	MOVQ 24(R13), DX
	TESTQ $4, CX
	JZ   fourth
	MOVQ (R15)(DX*8), DX

fourth:
	MOVQ 32(R13), R10
	TESTQ $8, CX
	JZ   fifth
	MOVQ (R15)(R10*8), R10

fifth:
	MOVQ 40(R13), R8
	TESTQ $16, CX
	JZ   sixth
	MOVQ (R15)(R8*8), R8

sixth:
	MOVQ 48(R13), R9
	TESTQ $32, CX
	JZ   call
	MOVQ (R15)(R9*8), R9

call:
	MOVQ 0(R13), AX
	SYSCALL
	MOVQ AX, 88(R13)
	CMPQ AX, $-4095
	JCC  error
	MOVQ 64(R13), CX
	CMPQ CX, $-1
	JEQ  next
	MOVQ AX, (R15)(CX*8)

next:
	ADDQ $112, R13
	INCQ BX
	JMP  loop

error:
	NEGQ AX
	MOVQ 72(R13), CX
	MOVQ $4, DX

lane:
	MOVWLZX CX, SI
	CMPQ SI, $0xffff
	JEQ  tolerated
	CMPQ SI, AX
	JEQ  tolerated
	SHRQ $16, CX
	DECQ DX
	JNZ  lane

failed:
	MOVQ BX, 24(R12)
	MOVQ $1, 32(R12)
	MOVQ $125, DI
	MOVQ $231, AX            // exit_group
	SYSCALL
	INT  $3

tolerated:
	MOVQ 80(R13), CX
	ADDQ CX, BX
	IMULQ $112, CX
	ADDQ CX, R13
	JMP  next
