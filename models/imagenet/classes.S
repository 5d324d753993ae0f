/* classes.S -- classes.txt, the licence of its names included, in the program's read-only data. */
    .section .rodata
    .global imagenet_classes_text
    .global imagenet_classes_end
imagenet_classes_text:
    .incbin "models/imagenet/classes.txt"
imagenet_classes_end:
    .byte 0
    .section .note.GNU-stack, "", %progbits
