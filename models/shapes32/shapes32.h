/* shapes32.h -- the example model inside the program: bytes of three safetensors files and of the statistics of its data
 * (README.md says what they are). */
#ifndef DG_SHAPES32_H
#define DG_SHAPES32_H
extern const unsigned char shapes32_network[], shapes32_network_end[];
extern const unsigned char shapes32_extractor[], shapes32_extractor_end[];
extern const unsigned char shapes32_discriminator[], shapes32_discriminator_end[];
extern const unsigned char shapes32_reference[], shapes32_reference_end[];
#endif
