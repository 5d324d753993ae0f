/* shapes32.S -- the example model's three weight files and its reference, as they are, in the program's read-only data. */
.macro embed name, file
    .global \name
    .global \name\()_end
    .balign 64
\name:
    .incbin "\file"
\name\()_end:
    .byte 0
.endm
    .section .rodata
    embed shapes32_network, "models/shapes32/network.safetensors"
    embed shapes32_extractor, "models/shapes32/extractor.safetensors"
    embed shapes32_discriminator, "models/shapes32/discriminator.safetensors"
    embed shapes32_reference, "models/shapes32/reference.npz"
    .section .note.GNU-stack, "", %progbits
